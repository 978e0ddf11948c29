# A NixOS host of a cluster whose members find each other on a tailnet.
#
#   inputs.blixard.url = "github:blixard/blixard";
#   nixosConfigurations.attic = nixpkgs.lib.nixosSystem {
#     system = "x86_64-linux";
#     modules = [ blixard.nixosModules.default ./host.nix ];
#   };
{ ... }:
{
  networking.hostName = "attic";

  services.tailscale.enable = true;

  services.blixard = {
    enable = true;
    # Another one on each host, never used before in this cluster.
    nodeId = 1;
    # On the first host alone: its empty data directory begins the cluster, which all others join.
    bootstrap = true;
    # This host's address on the tailnet. Nothing is encrypted or authenticated yet, so it must not listen elsewhere.
    bind = "100.64.0.1:7001";
    insecure = true;
    discover = [ "tailscale:blixard" ];
    hypervisors = [
      "qemu"
      "microvm-nix"
    ];
    labels.zone = "attic";
  };

  # The port is open on the tailnet alone.
  networking.firewall.interfaces.tailscale0.allowedTCPPorts = [ 7001 ];

  # To be replaced by the machine's own.
  fileSystems."/".device = "/dev/disk/by-label/nixos";
  boot.loader.systemd-boot.enable = true;
  system.stateVersion = "25.11";
}
