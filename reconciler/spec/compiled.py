"""The shape of a spec. Generated from models.py by reconciler.spec.generate: do not edit."""

from typing import Any

SHAPE: dict[str, Any] = {
 'is': 'keys',
 'expected': 'a map',
 'required': ['apiVersion', 'kind', 'name', 'containers'],
 'keys': {
  'apiVersion': {'is': 'literal', 'expected': "'reconciler/v1'", 'values': ['reconciler/v1']},
  'kind': {'is': 'literal', 'expected': "'Stack'", 'values': ['Stack']},
  'name': {'is': 'str', 'expected': 'text'},
  'containers': {
   'is': 'map',
   'expected': 'a map',
   'values': {
    'is': 'keys',
    'expected': 'a map',
    'required': ['image'],
    'keys': {
     'image': {'is': 'str', 'expected': 'text'},
     'command': {
      'is': 'choice',
      'choices': [
       {'is': 'text', 'expected': 'text'},
       {'is': 'list', 'expected': 'a list of texts', 'items': {'is': 'text', 'expected': 'text'}},
       {'is': 'null', 'expected': 'nothing'},
      ],
     },
     'entrypoint': {
      'is': 'choice',
      'choices': [
       {'is': 'text', 'expected': 'text'},
       {'is': 'list', 'expected': 'a list of texts', 'items': {'is': 'text', 'expected': 'text'}},
       {'is': 'null', 'expected': 'nothing'},
      ],
     },
     'environment': {
      'is': 'choice',
      'choices': [
       {
        'is': 'map',
        'expected': 'a map',
        'values': {
         'is': 'choice',
         'choices': [{'is': 'text', 'expected': 'text'}, {'is': 'null', 'expected': 'nothing'}],
        },
       },
       {'is': 'list', 'expected': 'a list of texts', 'items': {'is': 'text', 'expected': 'text'}},
      ],
     },
     'env_file': {
      'is': 'choice',
      'choices': [
       {'is': 'str', 'expected': 'text'},
       {
        'is': 'list',
        'expected': 'a list',
        'items': {
         'is': 'choice',
         'choices': [
          {'is': 'str', 'expected': 'text'},
          {
           'is': 'keys',
           'expected': 'a map',
           'required': ['path'],
           'keys': {
            'path': {'is': 'str', 'expected': 'text'},
            'required': {'is': 'bool', 'expected': 'true or false'},
           },
          },
         ],
        },
       },
      ],
     },
     'labels': {
      'is': 'choice',
      'choices': [
       {
        'is': 'map',
        'expected': 'a map',
        'values': {
         'is': 'choice',
         'choices': [{'is': 'text', 'expected': 'text'}, {'is': 'null', 'expected': 'nothing'}],
        },
       },
       {'is': 'list', 'expected': 'a list of texts', 'items': {'is': 'text', 'expected': 'text'}},
      ],
     },
     'links': {'is': 'list', 'expected': 'a list of texts', 'items': {'is': 'str', 'expected': 'text'}},
     'depends_on': {
      'is': 'choice',
      'choices': [
       {'is': 'list', 'expected': 'a list of texts', 'items': {'is': 'str', 'expected': 'text'}},
       {
        'is': 'map',
        'expected': 'a map',
        'values': {
         'is': 'keys',
         'expected': 'a map',
         'required': [],
         'keys': {
          'condition': {
           'is': 'literal',
           'expected': "'service_started' or 'service_healthy' or 'service_completed_successfully'",
           'values': ['service_started', 'service_healthy', 'service_completed_successfully'],
          },
         },
        },
       },
      ],
     },
     'volumes': {
      'is': 'list',
      'expected': 'a list',
      'items': {
       'is': 'choice',
       'choices': [
        {'is': 'str', 'expected': 'text'},
        {
         'is': 'keys',
         'expected': 'a map',
         'required': ['type', 'target'],
         'keys': {
          'type': {'is': 'str', 'expected': 'text'},
          'source': {'is': 'str', 'expected': 'text'},
          'target': {'is': 'str', 'expected': 'text'},
          'read_only': {'is': 'bool', 'expected': 'true or false'},
          'volume': {
           'is': 'keys',
           'expected': 'a map',
           'required': [],
           'keys': {'nocopy': {'is': 'bool', 'expected': 'true or false'}},
          },
          'tmpfs': {
           'is': 'keys',
           'expected': 'a map',
           'required': [],
           'keys': {'size': {'is': 'text', 'expected': 'text'}, 'mode': {'is': 'text', 'expected': 'text'}},
          },
         },
        },
       ],
      },
     },
     'volumes_from': {'is': 'list', 'expected': 'a list of texts', 'items': {'is': 'str', 'expected': 'text'}},
     'ports': {
      'is': 'list',
      'expected': 'a list',
      'items': {
       'is': 'choice',
       'choices': [
        {'is': 'text', 'expected': 'text'},
        {
         'is': 'keys',
         'expected': 'a map',
         'required': ['target'],
         'keys': {
          'target': {'is': 'text', 'expected': 'text'},
          'published': {'is': 'text', 'expected': 'text'},
          'host_ip': {'is': 'str', 'expected': 'text'},
          'protocol': {'is': 'str', 'expected': 'text'},
         },
        },
       ],
      },
     },
     'expose': {'is': 'list', 'expected': 'a list of texts', 'items': {'is': 'text', 'expected': 'text'}},
     'restart': {'is': 'text', 'expected': 'text'},
     'healthcheck': {
      'is': 'keys',
      'expected': 'a map',
      'required': [],
      'keys': {
       'test': {
        'is': 'choice',
        'choices': [
         {'is': 'text', 'expected': 'text'},
         {'is': 'list', 'expected': 'a list of texts', 'items': {'is': 'text', 'expected': 'text'}},
        ],
       },
       'interval': {'is': 'text', 'expected': 'text'},
       'timeout': {'is': 'text', 'expected': 'text'},
       'retries': {'is': 'text', 'expected': 'text'},
       'start_period': {'is': 'text', 'expected': 'text'},
       'start_interval': {'is': 'text', 'expected': 'text'},
       'disable': {'is': 'bool', 'expected': 'true or false'},
       'on_unhealthy': {'is': 'str', 'expected': 'text'},
      },
     },
     'logging': {
      'is': 'keys',
      'expected': 'a map',
      'required': [],
      'keys': {
       'driver': {'is': 'str', 'expected': 'text'},
       'options': {
        'is': 'keys',
        'expected': 'a map',
        'required': [],
        'keys': {'max-size': {'is': 'text', 'expected': 'text'}, 'max-file': {'is': 'text', 'expected': 'text'}},
       },
      },
     },
     'user': {'is': 'text', 'expected': 'text'},
     'working_dir': {'is': 'str', 'expected': 'text'},
     'hostname': {'is': 'str', 'expected': 'text'},
     'stop_signal': {'is': 'text', 'expected': 'text'},
     'stop_grace_period': {'is': 'text', 'expected': 'text'},
     'container_name': {'is': 'str', 'expected': 'text'},
     'pull_policy': {'is': 'str', 'expected': 'text'},
     'platform': {'is': 'str', 'expected': 'text'},
     'init': {'is': 'bool', 'expected': 'true or false'},
     'stdin_open': {'is': 'bool', 'expected': 'true or false'},
     'tty': {'is': 'bool', 'expected': 'true or false'},
     'mem_limit': {'is': 'text', 'expected': 'text'},
     'mem_reservation': {'is': 'text', 'expected': 'text'},
     'memswap_limit': {'is': 'text', 'expected': 'text'},
     'mem_swappiness': {'is': 'text', 'expected': 'text'},
     'oom_kill_disable': {'is': 'bool', 'expected': 'true or false'},
     'oom_score_adj': {'is': 'text', 'expected': 'text'},
     'cpus': {'is': 'text', 'expected': 'text'},
     'cpu_shares': {'is': 'text', 'expected': 'text'},
     'cpu_period': {'is': 'text', 'expected': 'text'},
     'cpu_quota': {'is': 'text', 'expected': 'text'},
     'cpuset': {'is': 'text', 'expected': 'text'},
     'pids_limit': {'is': 'text', 'expected': 'text'},
     'ulimits': {
      'is': 'map',
      'expected': 'a map',
      'values': {
       'is': 'choice',
       'choices': [
        {'is': 'text', 'expected': 'text'},
        {
         'is': 'keys',
         'expected': 'a map',
         'required': ['soft', 'hard'],
         'keys': {'soft': {'is': 'text', 'expected': 'text'}, 'hard': {'is': 'text', 'expected': 'text'}},
        },
       ],
      },
     },
     'shm_size': {'is': 'text', 'expected': 'text'},
     'sysctls': {
      'is': 'choice',
      'choices': [
       {
        'is': 'map',
        'expected': 'a map',
        'values': {
         'is': 'choice',
         'choices': [{'is': 'text', 'expected': 'text'}, {'is': 'null', 'expected': 'nothing'}],
        },
       },
       {'is': 'list', 'expected': 'a list of texts', 'items': {'is': 'text', 'expected': 'text'}},
      ],
     },
     'privileged': {'is': 'bool', 'expected': 'true or false'},
     'cap_add': {'is': 'list', 'expected': 'a list of texts', 'items': {'is': 'text', 'expected': 'text'}},
     'cap_drop': {'is': 'list', 'expected': 'a list of texts', 'items': {'is': 'text', 'expected': 'text'}},
     'security_opt': {'is': 'list', 'expected': 'a list of texts', 'items': {'is': 'text', 'expected': 'text'}},
     'devices': {
      'is': 'list',
      'expected': 'a list',
      'items': {
       'is': 'choice',
       'choices': [
        {'is': 'str', 'expected': 'text'},
        {
         'is': 'keys',
         'expected': 'a map',
         'required': ['source'],
         'keys': {
          'source': {'is': 'str', 'expected': 'text'},
          'target': {'is': 'str', 'expected': 'text'},
          'permissions': {'is': 'str', 'expected': 'text'},
         },
        },
       ],
      },
     },
     'device_cgroup_rules': {'is': 'list', 'expected': 'a list of texts', 'items': {'is': 'text', 'expected': 'text'}},
     'read_only': {'is': 'bool', 'expected': 'true or false'},
     'tmpfs': {
      'is': 'choice',
      'choices': [
       {'is': 'text', 'expected': 'text'},
       {'is': 'list', 'expected': 'a list of texts', 'items': {'is': 'text', 'expected': 'text'}},
      ],
     },
     'group_add': {'is': 'list', 'expected': 'a list of texts', 'items': {'is': 'text', 'expected': 'text'}},
     'extra_hosts': {
      'is': 'choice',
      'choices': [
       {
        'is': 'map',
        'expected': 'a map',
        'values': {
         'is': 'choice',
         'choices': [
          {'is': 'text', 'expected': 'text'},
          {'is': 'list', 'expected': 'a list of texts', 'items': {'is': 'text', 'expected': 'text'}},
         ],
        },
       },
       {'is': 'list', 'expected': 'a list of texts', 'items': {'is': 'text', 'expected': 'text'}},
      ],
     },
     'dns': {
      'is': 'choice',
      'choices': [
       {'is': 'text', 'expected': 'text'},
       {'is': 'list', 'expected': 'a list of texts', 'items': {'is': 'text', 'expected': 'text'}},
      ],
     },
     'dns_search': {
      'is': 'choice',
      'choices': [
       {'is': 'text', 'expected': 'text'},
       {'is': 'list', 'expected': 'a list of texts', 'items': {'is': 'text', 'expected': 'text'}},
      ],
     },
     'dns_opt': {'is': 'list', 'expected': 'a list of texts', 'items': {'is': 'text', 'expected': 'text'}},
     'domainname': {'is': 'str', 'expected': 'text'},
    },
   },
  },
  'volumes': {
   'is': 'map',
   'expected': 'a map',
   'values': {
    'is': 'choice',
    'choices': [
     {
      'is': 'keys',
      'expected': 'a map',
      'required': [],
      'keys': {
       'name': {'is': 'str', 'expected': 'text'},
       'external': {'is': 'bool', 'expected': 'true or false'},
       'protect': {'is': 'bool', 'expected': 'true or false'},
       'labels': {
        'is': 'choice',
        'choices': [
         {
          'is': 'map',
          'expected': 'a map',
          'values': {
           'is': 'choice',
           'choices': [{'is': 'text', 'expected': 'text'}, {'is': 'null', 'expected': 'nothing'}],
          },
         },
         {'is': 'list', 'expected': 'a list of texts', 'items': {'is': 'text', 'expected': 'text'}},
        ],
       },
      },
     },
     {'is': 'null', 'expected': 'nothing'},
    ],
   },
  },
  'moved': {
   'is': 'list',
   'expected': 'a list',
   'items': {
    'is': 'keys',
    'expected': 'a map',
    'required': ['from', 'to'],
    'keys': {'from': {'is': 'str', 'expected': 'text'}, 'to': {'is': 'str', 'expected': 'text'}},
   },
  },
  'adopt': {
   'is': 'list',
   'expected': 'a list',
   'items': {
    'is': 'keys',
    'expected': 'a map',
    'required': ['from', 'to'],
    'keys': {'from': {'is': 'str', 'expected': 'text'}, 'to': {'is': 'str', 'expected': 'text'}},
   },
  },
 },
}
