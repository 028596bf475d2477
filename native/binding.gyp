{
  'targets': [{
    'target_name': 'rudder_native',
    'sources': ['src/addon.c', 'src/arguments.c', 'src/handles.c', 'src/devices.c', 'src/echo.c', 'src/netlink.c', 'src/notify.c', 'src/limits.c', 'src/path.c', 'src/records.c', 'src/wait.c', 'src/ring.c', 'src/tun.c', 'src/udp.c', 'src/checksum.c', 'src/aead.c', 'src/aead-crew.c', 'src/blake2s.c', 'src/crypto.c', 'src/sessions.c', 'src/staged.c', 'src/seal.c', 'src/open.c'],
    'defines': ['NAPI_VERSION=8', '_GNU_SOURCE'],
    'cflags': ['-std=c11', '-Wall', '-Wextra', '-Werror', '-fvisibility=hidden'],
    'configurations': {
      'Release': { 'cflags': ['-O2'] },
      # The build that the sanitizer run loads: scripts/build-native Debug.
      'Debug': {
        'cflags': ['-O1', '-g', '-fno-omit-frame-pointer', '-fsanitize=address,undefined', '-fno-sanitize-recover=undefined'],
        'ldflags': ['-fsanitize=address,undefined'],
      },
    },
  }],
}
