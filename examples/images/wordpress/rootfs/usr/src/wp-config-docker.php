<?php
/**
 * WordPress's configuration, taken from the environment on each request: a container with other variables needs no
 * new wp-config.php. The entry point copies this file once, with a unique value for each key and salt.
 *
 * WORDPRESS_X, or a file named by WORDPRESS_X_FILE; what is not set comes from the container linked as "mysql".
 */

/** The value of an environment variable, of the file that NAME_FILE names, or the default; a set, empty one counts. */
function getenv_docker(string $name, ?string $default): ?string
{
    $file = getenv($name . '_FILE');
    if ($file !== false && $file !== '') {
        $content = @file_get_contents($file);
        if ($content === false) {
            error_log("$name" . "_FILE names $file, which cannot be read");
            return $default;
        }
        return rtrim($content, "\r\n");
    }
    $value = getenv($name);
    return $value === false ? $default : $value;
}

/** A variable of the database container that is linked under the alias "mysql": official names of both spellings. */
function linked_database(string $name): ?string
{
    foreach (['MYSQL', 'MARIADB'] as $prefix) {
        $value = getenv("MYSQL_ENV_{$prefix}_{$name}");
        if ($value !== false && $value !== '') {
            return $value;
        }
    }
    return null;
}

// The link's alias, not its address variable: the hosts file follows a database that comes back with another address.
define('DB_HOST', getenv_docker('WORDPRESS_DB_HOST', 'mysql'));
define('DB_USER', getenv_docker('WORDPRESS_DB_USER', linked_database('USER') ?? 'root'));
define('DB_PASSWORD', getenv_docker('WORDPRESS_DB_PASSWORD', linked_database(DB_USER === 'root' ? 'ROOT_PASSWORD' : 'PASSWORD') ?? ''));
define('DB_NAME', getenv_docker('WORDPRESS_DB_NAME', linked_database('DATABASE') ?? 'wordpress'));
define('DB_CHARSET', getenv_docker('WORDPRESS_DB_CHARSET', 'utf8mb4'));
define('DB_COLLATE', getenv_docker('WORDPRESS_DB_COLLATE', ''));

define('AUTH_KEY', getenv_docker('WORDPRESS_AUTH_KEY', 'put your unique phrase here'));
define('SECURE_AUTH_KEY', getenv_docker('WORDPRESS_SECURE_AUTH_KEY', 'put your unique phrase here'));
define('LOGGED_IN_KEY', getenv_docker('WORDPRESS_LOGGED_IN_KEY', 'put your unique phrase here'));
define('NONCE_KEY', getenv_docker('WORDPRESS_NONCE_KEY', 'put your unique phrase here'));
define('AUTH_SALT', getenv_docker('WORDPRESS_AUTH_SALT', 'put your unique phrase here'));
define('SECURE_AUTH_SALT', getenv_docker('WORDPRESS_SECURE_AUTH_SALT', 'put your unique phrase here'));
define('LOGGED_IN_SALT', getenv_docker('WORDPRESS_LOGGED_IN_SALT', 'put your unique phrase here'));
define('NONCE_SALT', getenv_docker('WORDPRESS_NONCE_SALT', 'put your unique phrase here'));

$table_prefix = getenv_docker('WORDPRESS_TABLE_PREFIX', 'wp_');

define('WP_DEBUG', (bool) getenv_docker('WORDPRESS_DEBUG', ''));

// Behind a proxy that ends TLS.
if (strpos($_SERVER['HTTP_X_FORWARDED_PROTO'] ?? '', 'https') !== false) {
    $_SERVER['HTTPS'] = 'on';
}

if ($extra = getenv_docker('WORDPRESS_CONFIG_EXTRA', '')) {
    eval($extra);
}

if (!defined('ABSPATH')) {
    define('ABSPATH', __DIR__ . '/');
}

require_once ABSPATH . 'wp-settings.php';
