"""The shape of a spec, for pydantic-core. Generated from models.py by reconciler.spec.generate: do not edit."""

from typing import Any

SCHEMA: dict[str, Any] = {
 'type': 'typed-dict',
 'fields': {
  'apiVersion': {
   'type': 'typed-dict-field',
   'schema': {'type': 'literal', 'expected': ['reconciler/v1']},
   'required': True,
  },
  'kind': {'type': 'typed-dict-field', 'schema': {'type': 'literal', 'expected': ['Stack']}, 'required': True},
  'name': {'type': 'typed-dict-field', 'schema': {'type': 'str'}, 'required': True},
  'containers': {
   'type': 'typed-dict-field',
   'schema': {
    'type': 'dict',
    'keys_schema': {'type': 'str'},
    'values_schema': {
     'type': 'typed-dict',
     'fields': {
      'image': {'type': 'typed-dict-field', 'schema': {'type': 'str'}, 'required': True},
      'command': {
       'type': 'typed-dict-field',
       'schema': {
        'type': 'nullable',
        'schema': {
         'type': 'union',
         'choices': [
          ({'type': 'str'}, '\x00text'),
          ({'type': 'int'}, '\x00text'),
          ({'type': 'float'}, '\x00text'),
          ({'type': 'bool'}, '\x00text'),
          (
           {
            'type': 'list',
            'items_schema': {
             'type': 'union',
             'choices': [
              ({'type': 'str'}, '\x00text'),
              ({'type': 'int'}, '\x00text'),
              ({'type': 'float'}, '\x00text'),
              ({'type': 'bool'}, '\x00text'),
             ],
            },
           },
           '\x00a list of strings',
          ),
         ],
        },
       },
       'required': False,
      },
      'entrypoint': {
       'type': 'typed-dict-field',
       'schema': {
        'type': 'nullable',
        'schema': {
         'type': 'union',
         'choices': [
          ({'type': 'str'}, '\x00text'),
          ({'type': 'int'}, '\x00text'),
          ({'type': 'float'}, '\x00text'),
          ({'type': 'bool'}, '\x00text'),
          (
           {
            'type': 'list',
            'items_schema': {
             'type': 'union',
             'choices': [
              ({'type': 'str'}, '\x00text'),
              ({'type': 'int'}, '\x00text'),
              ({'type': 'float'}, '\x00text'),
              ({'type': 'bool'}, '\x00text'),
             ],
            },
           },
           '\x00a list of strings',
          ),
         ],
        },
       },
       'required': False,
      },
      'environment': {
       'type': 'typed-dict-field',
       'schema': {
        'type': 'union',
        'choices': [
         (
          {
           'type': 'dict',
           'keys_schema': {'type': 'str'},
           'values_schema': {
            'type': 'nullable',
            'schema': {
             'type': 'union',
             'choices': [
              ({'type': 'str'}, '\x00text'),
              ({'type': 'int'}, '\x00text'),
              ({'type': 'float'}, '\x00text'),
              ({'type': 'bool'}, '\x00text'),
             ],
            },
           },
          },
          '\x00a map',
         ),
         (
          {
           'type': 'list',
           'items_schema': {
            'type': 'union',
            'choices': [
             ({'type': 'str'}, '\x00text'),
             ({'type': 'int'}, '\x00text'),
             ({'type': 'float'}, '\x00text'),
             ({'type': 'bool'}, '\x00text'),
            ],
           },
          },
          '\x00a list of strings',
         ),
        ],
       },
       'required': False,
      },
      'env_file': {
       'type': 'typed-dict-field',
       'schema': {
        'type': 'union',
        'choices': [
         ({'type': 'str'}, '\x00a string'),
         (
          {
           'type': 'list',
           'items_schema': {
            'type': 'union',
            'choices': [
             ({'type': 'str'}, '\x00a string'),
             (
              {
               'type': 'typed-dict',
               'fields': {
                'path': {'type': 'typed-dict-field', 'schema': {'type': 'str'}, 'required': True},
                'required': {'type': 'typed-dict-field', 'schema': {'type': 'bool'}, 'required': False},
               },
               'extra_behavior': 'forbid',
              },
              '\x00a map',
             ),
            ],
           },
          },
          '\x00a list',
         ),
        ],
       },
       'required': False,
      },
      'labels': {
       'type': 'typed-dict-field',
       'schema': {
        'type': 'union',
        'choices': [
         (
          {
           'type': 'dict',
           'keys_schema': {'type': 'str'},
           'values_schema': {
            'type': 'nullable',
            'schema': {
             'type': 'union',
             'choices': [
              ({'type': 'str'}, '\x00text'),
              ({'type': 'int'}, '\x00text'),
              ({'type': 'float'}, '\x00text'),
              ({'type': 'bool'}, '\x00text'),
             ],
            },
           },
          },
          '\x00a map',
         ),
         (
          {
           'type': 'list',
           'items_schema': {
            'type': 'union',
            'choices': [
             ({'type': 'str'}, '\x00text'),
             ({'type': 'int'}, '\x00text'),
             ({'type': 'float'}, '\x00text'),
             ({'type': 'bool'}, '\x00text'),
            ],
           },
          },
          '\x00a list of strings',
         ),
        ],
       },
       'required': False,
      },
      'links': {
       'type': 'typed-dict-field',
       'schema': {'type': 'list', 'items_schema': {'type': 'str'}},
       'required': False,
      },
      'depends_on': {
       'type': 'typed-dict-field',
       'schema': {
        'type': 'union',
        'choices': [
         ({'type': 'list', 'items_schema': {'type': 'str'}}, '\x00a list of strings'),
         (
          {
           'type': 'dict',
           'keys_schema': {'type': 'str'},
           'values_schema': {
            'type': 'typed-dict',
            'fields': {
             'condition': {
              'type': 'typed-dict-field',
              'schema': {
               'type': 'literal',
               'expected': ['service_started', 'service_healthy', 'service_completed_successfully'],
              },
              'required': False,
             },
            },
            'extra_behavior': 'forbid',
           },
          },
          '\x00a map',
         ),
        ],
       },
       'required': False,
      },
      'volumes': {
       'type': 'typed-dict-field',
       'schema': {
        'type': 'list',
        'items_schema': {
         'type': 'union',
         'choices': [
          ({'type': 'str'}, '\x00a string'),
          (
           {
            'type': 'typed-dict',
            'fields': {
             'type': {'type': 'typed-dict-field', 'schema': {'type': 'str'}, 'required': True},
             'source': {'type': 'typed-dict-field', 'schema': {'type': 'str'}, 'required': False},
             'target': {'type': 'typed-dict-field', 'schema': {'type': 'str'}, 'required': True},
             'read_only': {'type': 'typed-dict-field', 'schema': {'type': 'bool'}, 'required': False},
             'volume': {
              'type': 'typed-dict-field',
              'schema': {
               'type': 'typed-dict',
               'fields': {'nocopy': {'type': 'typed-dict-field', 'schema': {'type': 'bool'}, 'required': False}},
               'extra_behavior': 'forbid',
              },
              'required': False,
             },
            },
            'extra_behavior': 'forbid',
           },
           '\x00a map',
          ),
         ],
        },
       },
       'required': False,
      },
      'volumes_from': {
       'type': 'typed-dict-field',
       'schema': {'type': 'list', 'items_schema': {'type': 'str'}},
       'required': False,
      },
      'ports': {
       'type': 'typed-dict-field',
       'schema': {
        'type': 'list',
        'items_schema': {
         'type': 'union',
         'choices': [
          ({'type': 'str'}, '\x00text'),
          ({'type': 'int'}, '\x00text'),
          ({'type': 'float'}, '\x00text'),
          ({'type': 'bool'}, '\x00text'),
          (
           {
            'type': 'typed-dict',
            'fields': {
             'target': {
              'type': 'typed-dict-field',
              'schema': {
               'type': 'union',
               'choices': [
                ({'type': 'str'}, '\x00text'),
                ({'type': 'int'}, '\x00text'),
                ({'type': 'float'}, '\x00text'),
                ({'type': 'bool'}, '\x00text'),
               ],
              },
              'required': True,
             },
             'published': {
              'type': 'typed-dict-field',
              'schema': {
               'type': 'union',
               'choices': [
                ({'type': 'str'}, '\x00text'),
                ({'type': 'int'}, '\x00text'),
                ({'type': 'float'}, '\x00text'),
                ({'type': 'bool'}, '\x00text'),
               ],
              },
              'required': False,
             },
             'host_ip': {'type': 'typed-dict-field', 'schema': {'type': 'str'}, 'required': False},
             'protocol': {'type': 'typed-dict-field', 'schema': {'type': 'str'}, 'required': False},
            },
            'extra_behavior': 'forbid',
           },
           '\x00a map',
          ),
         ],
        },
       },
       'required': False,
      },
      'expose': {
       'type': 'typed-dict-field',
       'schema': {
        'type': 'list',
        'items_schema': {
         'type': 'union',
         'choices': [
          ({'type': 'str'}, '\x00text'),
          ({'type': 'int'}, '\x00text'),
          ({'type': 'float'}, '\x00text'),
          ({'type': 'bool'}, '\x00text'),
         ],
        },
       },
       'required': False,
      },
      'restart': {
       'type': 'typed-dict-field',
       'schema': {
        'type': 'union',
        'choices': [
         ({'type': 'str'}, '\x00text'),
         ({'type': 'int'}, '\x00text'),
         ({'type': 'float'}, '\x00text'),
         ({'type': 'bool'}, '\x00text'),
        ],
       },
       'required': False,
      },
      'healthcheck': {
       'type': 'typed-dict-field',
       'schema': {
        'type': 'typed-dict',
        'fields': {
         'test': {
          'type': 'typed-dict-field',
          'schema': {
           'type': 'union',
           'choices': [
            ({'type': 'str'}, '\x00text'),
            ({'type': 'int'}, '\x00text'),
            ({'type': 'float'}, '\x00text'),
            ({'type': 'bool'}, '\x00text'),
            (
             {
              'type': 'list',
              'items_schema': {
               'type': 'union',
               'choices': [
                ({'type': 'str'}, '\x00text'),
                ({'type': 'int'}, '\x00text'),
                ({'type': 'float'}, '\x00text'),
                ({'type': 'bool'}, '\x00text'),
               ],
              },
             },
             '\x00a list of strings',
            ),
           ],
          },
          'required': False,
         },
         'interval': {
          'type': 'typed-dict-field',
          'schema': {
           'type': 'union',
           'choices': [
            ({'type': 'str'}, '\x00text'),
            ({'type': 'int'}, '\x00text'),
            ({'type': 'float'}, '\x00text'),
            ({'type': 'bool'}, '\x00text'),
           ],
          },
          'required': False,
         },
         'timeout': {
          'type': 'typed-dict-field',
          'schema': {
           'type': 'union',
           'choices': [
            ({'type': 'str'}, '\x00text'),
            ({'type': 'int'}, '\x00text'),
            ({'type': 'float'}, '\x00text'),
            ({'type': 'bool'}, '\x00text'),
           ],
          },
          'required': False,
         },
         'retries': {
          'type': 'typed-dict-field',
          'schema': {
           'type': 'union',
           'choices': [
            ({'type': 'str'}, '\x00text'),
            ({'type': 'int'}, '\x00text'),
            ({'type': 'float'}, '\x00text'),
            ({'type': 'bool'}, '\x00text'),
           ],
          },
          'required': False,
         },
         'start_period': {
          'type': 'typed-dict-field',
          'schema': {
           'type': 'union',
           'choices': [
            ({'type': 'str'}, '\x00text'),
            ({'type': 'int'}, '\x00text'),
            ({'type': 'float'}, '\x00text'),
            ({'type': 'bool'}, '\x00text'),
           ],
          },
          'required': False,
         },
         'start_interval': {
          'type': 'typed-dict-field',
          'schema': {
           'type': 'union',
           'choices': [
            ({'type': 'str'}, '\x00text'),
            ({'type': 'int'}, '\x00text'),
            ({'type': 'float'}, '\x00text'),
            ({'type': 'bool'}, '\x00text'),
           ],
          },
          'required': False,
         },
         'disable': {'type': 'typed-dict-field', 'schema': {'type': 'bool'}, 'required': False},
        },
        'extra_behavior': 'forbid',
       },
       'required': False,
      },
      'logging': {
       'type': 'typed-dict-field',
       'schema': {
        'type': 'typed-dict',
        'fields': {
         'driver': {'type': 'typed-dict-field', 'schema': {'type': 'str'}, 'required': False},
         'options': {
          'type': 'typed-dict-field',
          'schema': {
           'type': 'typed-dict',
           'fields': {
            'max-size': {
             'type': 'typed-dict-field',
             'schema': {
              'type': 'union',
              'choices': [
               ({'type': 'str'}, '\x00text'),
               ({'type': 'int'}, '\x00text'),
               ({'type': 'float'}, '\x00text'),
               ({'type': 'bool'}, '\x00text'),
              ],
             },
             'required': False,
            },
            'max-file': {
             'type': 'typed-dict-field',
             'schema': {
              'type': 'union',
              'choices': [
               ({'type': 'str'}, '\x00text'),
               ({'type': 'int'}, '\x00text'),
               ({'type': 'float'}, '\x00text'),
               ({'type': 'bool'}, '\x00text'),
              ],
             },
             'required': False,
            },
           },
           'extra_behavior': 'forbid',
          },
          'required': False,
         },
        },
        'extra_behavior': 'forbid',
       },
       'required': False,
      },
      'user': {
       'type': 'typed-dict-field',
       'schema': {
        'type': 'union',
        'choices': [
         ({'type': 'str'}, '\x00text'),
         ({'type': 'int'}, '\x00text'),
         ({'type': 'float'}, '\x00text'),
         ({'type': 'bool'}, '\x00text'),
        ],
       },
       'required': False,
      },
      'working_dir': {'type': 'typed-dict-field', 'schema': {'type': 'str'}, 'required': False},
      'hostname': {'type': 'typed-dict-field', 'schema': {'type': 'str'}, 'required': False},
      'stop_signal': {
       'type': 'typed-dict-field',
       'schema': {
        'type': 'union',
        'choices': [
         ({'type': 'str'}, '\x00text'),
         ({'type': 'int'}, '\x00text'),
         ({'type': 'float'}, '\x00text'),
         ({'type': 'bool'}, '\x00text'),
        ],
       },
       'required': False,
      },
      'stop_grace_period': {
       'type': 'typed-dict-field',
       'schema': {
        'type': 'union',
        'choices': [
         ({'type': 'str'}, '\x00text'),
         ({'type': 'int'}, '\x00text'),
         ({'type': 'float'}, '\x00text'),
         ({'type': 'bool'}, '\x00text'),
        ],
       },
       'required': False,
      },
      'container_name': {'type': 'typed-dict-field', 'schema': {'type': 'str'}, 'required': False},
      'pull_policy': {'type': 'typed-dict-field', 'schema': {'type': 'str'}, 'required': False},
     },
     'extra_behavior': 'forbid',
    },
   },
   'required': True,
  },
  'volumes': {
   'type': 'typed-dict-field',
   'schema': {
    'type': 'dict',
    'keys_schema': {'type': 'str'},
    'values_schema': {
     'type': 'nullable',
     'schema': {
      'type': 'typed-dict',
      'fields': {
       'name': {'type': 'typed-dict-field', 'schema': {'type': 'str'}, 'required': False},
       'external': {'type': 'typed-dict-field', 'schema': {'type': 'bool'}, 'required': False},
       'labels': {
        'type': 'typed-dict-field',
        'schema': {
         'type': 'union',
         'choices': [
          (
           {
            'type': 'dict',
            'keys_schema': {'type': 'str'},
            'values_schema': {
             'type': 'nullable',
             'schema': {
              'type': 'union',
              'choices': [
               ({'type': 'str'}, '\x00text'),
               ({'type': 'int'}, '\x00text'),
               ({'type': 'float'}, '\x00text'),
               ({'type': 'bool'}, '\x00text'),
              ],
             },
            },
           },
           '\x00a map',
          ),
          (
           {
            'type': 'list',
            'items_schema': {
             'type': 'union',
             'choices': [
              ({'type': 'str'}, '\x00text'),
              ({'type': 'int'}, '\x00text'),
              ({'type': 'float'}, '\x00text'),
              ({'type': 'bool'}, '\x00text'),
             ],
            },
           },
           '\x00a list of strings',
          ),
         ],
        },
        'required': False,
       },
      },
      'extra_behavior': 'forbid',
     },
    },
   },
   'required': False,
  },
 },
 'extra_behavior': 'forbid',
}
