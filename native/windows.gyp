{
  # The CPU addon on Windows, by node-gyp: scripts/build-addon.mjs puts this file at the root, where node-gyp looks for it,
  # while it builds. There it would make installers run node-gyp.
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
      "msvs_settings": {
        "VCCLCompilerTool": { "AdditionalOptions": ["/std:c++17", "/fp:precise"] }
      }
    }
  ]
}
