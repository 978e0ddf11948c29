{
  lib,
  rustPlatform,
  protobuf_21,
}:

rustPlatform.buildRustPackage {
  pname = "blixard";
  version = (lib.importTOML ../Cargo.toml).workspace.package.version;

  src = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.unions [
      ../Cargo.toml
      ../Cargo.lock
      ../src
      ../proto
      ../simulator
      ../scenarios
      ../tests
      ../xtask
      ../examples/replicated-counter
    ];
  };

  cargoLock.lockFile = ../Cargo.lock;

  # raft-proto generates code with a protoc that it brings along, which does not run on NixOS. It takes another one, but
  # only if that calls itself version 3.
  env.PROTOC = "${protobuf_21}/bin/protoc";

  cargoBuildFlags = [
    "--package=blixard"
    "--package=blixard-sim"
  ];
  # The rest of the tests starts processes, listens on ports, or takes long.
  cargoTestFlags = [
    "--package=blixard-node"
    "--package=blixard-runtime"
  ];

  postInstall = ''
    mkdir -p $out/share/blixard
    cp -r scenarios $out/share/blixard/
    mkdir -p completions
    $out/bin/blixard completions bash > completions/blixard.bash
    $out/bin/blixard completions fish > completions/blixard.fish
    $out/bin/blixard completions zsh > completions/_blixard
    install -Dm644 completions/blixard.bash $out/share/bash-completion/completions/blixard
    install -Dm644 completions/blixard.fish $out/share/fish/vendor_completions.d/blixard.fish
    install -Dm644 completions/_blixard $out/share/zsh/site-functions/_blixard
  '';

  meta = {
    description = "Runs microVMs on a few to a thousand hosts from one binary";
    license = [
      lib.licenses.mit
      lib.licenses.asl20
    ];
    mainProgram = "blixard";
    platforms = lib.platforms.linux;
  };
}
