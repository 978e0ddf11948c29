{
  description = "Blixard runs microVMs on a few to a thousand hosts from one binary";

  # Rust 1.95 or newer is needed; the unstable branch has it.
  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      forEachSystem = nixpkgs.lib.genAttrs systems;
      pkgsOf = system: nixpkgs.legacyPackages.${system};
    in
    {
      packages = forEachSystem (system: rec {
        blixard = (pkgsOf system).callPackage ./nix/package.nix { };
        default = blixard;
      });

      devShells = forEachSystem (
        system:
        let
          pkgs = pkgsOf system;
        in
        {
          default = pkgs.mkShell {
            packages = [
              pkgs.cargo
              pkgs.cargo-deny
              pkgs.clippy
              pkgs.grpcurl
              pkgs.jq
              pkgs.rust-analyzer
              pkgs.rustc
              pkgs.rustfmt
              # What the tests with real hypervisors run; they are skipped without.
              pkgs.binutils
              pkgs.git
              pkgs.iproute2
              pkgs.nix
              pkgs.qemu
              pkgs.util-linux
            ];
            # See nix/package.nix.
            PROTOC = "${pkgs.protobuf_21}/bin/protoc";
          };
        }
      );

      nixosModules.default =
        { pkgs, lib, ... }:
        {
          imports = [ ./nix/module.nix ];
          services.blixard.package = lib.mkDefault self.packages.${pkgs.stdenv.hostPlatform.system}.blixard;
        };

      # A host to begin from, and what `nix flake check` evaluates the module with.
      nixosConfigurations.example = nixpkgs.lib.nixosSystem {
        system = "x86_64-linux";
        modules = [
          self.nixosModules.default
          ./examples/nixos/host.nix
        ];
      };

      formatter = forEachSystem (system: (pkgsOf system).nixfmt-rfc-style);
    };
}
