{
  # The CPU addon that `npm ci` builds: no options, no downloads. CMakeLists.txt builds the same from the same list.
  "targets": [
    {
      "target_name": "softpack",
      "sources": [
        "<!@(node -p \"const s = require('./native/sources.json'); [...s.kernels, ...s.binding].join(' ')\")"
      ],
      "include_dirs": ["native"],
      "dependencies": [
        "<!(node -p \"require('node-addon-api').targets\"):node_addon_api_except_all"
      ],
      # Contraction would fuse a multiplication and an addition on one machine and not on another.
      "cflags_cc": ["-std=c++17", "-ffp-contract=off", "-fvisibility=hidden", "-Wall", "-Wextra"],
      "xcode_settings": {
        "CLANG_CXX_LANGUAGE_STANDARD": "c++17",
        "GCC_SYMBOLS_PRIVATE_EXTERN": "YES",
        "OTHER_CPLUSPLUSFLAGS": ["-ffp-contract=off", "-Wall", "-Wextra"]
      },
      "msvs_settings": {
        "VCCLCompilerTool": { "AdditionalOptions": ["/std:c++17", "/fp:precise"] }
      },
      "conditions": [
        # The pool's threads outlive the last environment that uses the addon: never unmap their code.
        ["OS=='linux'", { "ldflags": ["-Wl,-z,nodelete", "-Wl,-z,now", "-Wl,--version-script=<(module_root_dir)/native/binding/module.map"] }]
      ]
    }
  ]
}
