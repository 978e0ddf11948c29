# A microVM, as a NixOS module with the options of microvm.nix:
#
#   blixard vm create --name web --config examples/microvm.nix --memory 512MiB
#   blixard vm start web
#
# The text is kept in the cluster, and any of its hosts that has nix builds it. Its name, its vCPUs and its memory are those
# of the VM unless it says otherwise; it may take less than the VM was given, not more.
{ pkgs, ... }:
{
  microvm = {
    hypervisor = "qemu";
    interfaces = [
      {
        type = "user";
        id = "usernet";
        mac = "02:00:00:00:00:01";
      }
    ];
    # Made at the first start in the VM's folder on its host. A VM that is to keep it says `local_volume = true`.
    volumes = [
      {
        image = "data.img";
        mountPoint = "/var/lib/web";
        size = 256;
      }
    ];
  };

  services.nginx = {
    enable = true;
    virtualHosts.default.locations."/".return = "200 'Hello from a microVM'";
  };
  networking.firewall.allowedTCPPorts = [ 80 ];

  # Log in on the console (`blixard vm console web`).
  services.getty.autologinUser = "root";
  environment.systemPackages = [ pkgs.htop ];
  system.stateVersion = "25.11";
}
