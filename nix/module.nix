# One member of a Blixard cluster as a systemd service.
#
#   services.blixard = {
#     enable = true;
#     nodeId = 2;
#     bind = "100.64.0.2:7001";
#     insecure = true; # a network that nobody else reaches
#     discover = [ "tailscale:blixard" ];
#     hypervisors = [ "qemu" "microvm-nix" ];
#   };
{
  config,
  lib,
  pkgs,
  utils,
  ...
}:
let
  cfg = config.services.blixard;
  home = "/var/lib/blixard";
  # The daemon refuses what it cannot parse; what is checked here is what would only show at run time.
  address = lib.types.strMatching ".+:[0-9]+";
  offers = name: builtins.elem name cfg.hypervisors;
  hasTailscale = builtins.any (lib.hasPrefix "tailscale") cfg.discover;
  arguments = [
    "--id=${toString cfg.nodeId}"
    "--bind=${cfg.bind}"
    "--data-dir=${cfg.dataDir}"
  ]
  ++ lib.optional (cfg.advertise != null) "--advertise=${cfg.advertise}"
  ++ lib.optional cfg.bootstrap "--bootstrap"
  ++ lib.optional cfg.insecure "--insecure"
  ++ map (peer: "--peer=${peer}") cfg.peers
  ++ map (source: "--discover=${source}") cfg.discover
  ++ lib.optional (cfg.watchdog != null) "--watchdog=${cfg.watchdog}"
  ++ lib.optional (cfg.vcpus != null) "--vcpus=${toString cfg.vcpus}"
  ++ lib.optional (cfg.memory != null) "--memory=${toString cfg.memory}"
  ++ lib.mapAttrsToList (key: value: "--label=${key}=${value}") cfg.labels
  ++ cfg.extraFlags;
in
{
  options.services.blixard = {
    enable = lib.mkEnableOption "this host's member of a Blixard cluster";

    package = lib.mkOption {
      type = lib.types.package;
      description = "The package with the `blixard` binary.";
    };

    nodeId = lib.mkOption {
      type = lib.types.ints.positive;
      example = 1;
      description = ''
        This member's id. It must never have been used before in its cluster, not by a host that was removed
        or that lost its data directory either.
      '';
    };

    bind = lib.mkOption {
      type = address;
      default = "127.0.0.1:7001";
      description = "Where clients and other members reach this one.";
    };

    advertise = lib.mkOption {
      type = lib.types.nullOr address;
      default = null;
      description = "The address that others reach this member under, if it is another than `bind`.";
    };

    peers = lib.mkOption {
      type = lib.types.listOf (lib.types.strMatching "([1-9][0-9]*:)?.+:[0-9]+");
      default = [ ];
      example = [ "1:10.0.0.1:7001" ];
      description = ''
        Members to join through, as `[ID:]HOST:PORT`. With none and no `discover`, an empty data directory becomes the
        first member of a new cluster.
      '';
    };

    discover = lib.mkOption {
      type = lib.types.listOf (lib.types.strMatching "(file:/.+|dns:.+|tailscale(:.+)?)");
      default = [ ];
      example = [ "tailscale:blixard" ];
      description = ''
        Where to find members to join through: `file:PATH`, `dns:NAME[:PORT]` or `tailscale[:TAG]`. The first member of
        a cluster then needs `bootstrap`.
      '';
    };

    bootstrap = lib.mkOption {
      type = lib.types.bool;
      default = false;
      description = "Begin a new cluster although there are peers. Without effect once the data directory has content.";
    };

    dataDir = lib.mkOption {
      type = lib.types.path;
      default = home;
      description = "Where state is kept. It must survive reboots: a member that lost it has to join under a new id.";
    };

    hypervisors = lib.mkOption {
      type = lib.types.listOf (
        lib.types.enum [
          "process"
          "qemu"
          "microvm-nix"
          "cloud-hypervisor"
        ]
      );
      default = [
        "qemu"
        "microvm-nix"
      ];
      description = ''
        The backends whose programs the daemon is given. It offers what it finds to work; `process` is always there.
      '';
    };

    microvmNix = {
      base = lib.mkOption {
        type = lib.types.nullOr lib.types.str;
        default = null;
        example = "github:me/blixard-base";
        description = ''
          The flake that microvm.nix and nixpkgs come from for VMs that are given as a file: one with
          `nixosModules.microvm`, and `lib.nixosSystem` or an input `nixpkgs`. The first host of a VM decides for all of
          them. Default: a release of microvm.nix that Blixard names.
        '';
      };

      timeout = lib.mkOption {
        type = lib.types.strMatching "[0-9]+(s|m|h)";
        default = "30m";
        description = "How long a build may take, with all that is fetched for it.";
      };
    };

    taps = lib.mkOption {
      type = lib.types.bool;
      default = false;
      description = ''
        Let VMs have taps and bridges of this host: gives the daemon, and with it every VM's process, the right to
        change this host's networking (CAP_NET_ADMIN).
      '';
    };

    watchdog = lib.mkOption {
      type = lib.types.nullOr (lib.types.strMatching "/dev/watchdog[0-9]*");
      default = null;
      example = "/dev/watchdog";
      description = ''
        A hardware watchdog to feed while this host keeps its leases: it resets the host when nothing else can end a VM
        in time. Systemd must not feed it too (`systemd.settings.Manager.RuntimeWatchdogSec`). The device is given to
        the daemon's group.
      '';
    };

    vcpus = lib.mkOption {
      type = lib.types.nullOr lib.types.ints.positive;
      default = null;
      description = "Virtual CPUs to offer to VMs; all of this host's when null.";
    };

    memory = lib.mkOption {
      type = lib.types.nullOr lib.types.ints.positive;
      default = null;
      description = "Memory to offer to VMs, in MiB; four fifths of this host's when null.";
    };

    labels = lib.mkOption {
      type = lib.types.attrsOf lib.types.str;
      default = { };
      example = {
        zone = "attic";
      };
      description = "This host's labels, for VMs that ask for them.";
    };

    insecure = lib.mkOption {
      type = lib.types.bool;
      default = false;
      description = ''
        Listen beyond loopback although nothing is encrypted and nobody is authenticated: whoever reaches the
        port controls the VMs.
      '';
    };

    openFirewall = lib.mkOption {
      type = lib.types.bool;
      default = false;
      description = "Open the port of `bind`.";
    };

    log = lib.mkOption {
      type = lib.types.str;
      default = "info";
      description = "What is logged: a level, or directives such as `info,blixard::net=debug`.";
    };

    extraFlags = lib.mkOption {
      type = lib.types.listOf lib.types.str;
      default = [ ];
      example = [ "--log-format=json" ];
      description = "More flags for `blixard node`.";
    };
  };

  config = lib.mkIf cfg.enable {
    environment.systemPackages = [ cfg.package ];

    networking.firewall.allowedTCPPorts = lib.mkIf cfg.openFirewall [
      (lib.toInt (lib.last (lib.splitString ":" cfg.bind)))
    ];

    services.udev.extraRules = lib.mkIf (cfg.watchdog != null) ''
      KERNEL=="watchdog*", GROUP="blixard", MODE="0660"
    '';

    boot.kernelModules = lib.mkIf cfg.taps [ "tun" ];

    users.users = {
      blixard = {
        isSystemUser = true;
        group = "blixard";
        home = cfg.dataDir;
      };
      # The taps of microvm.nix's runners belong to this user, by name.
      microvm = lib.mkIf (cfg.taps && offers "microvm-nix") {
        isSystemUser = true;
        group = "kvm";
      };
    };
    users.groups.blixard = { };

    systemd.tmpfiles.rules = lib.mkIf (cfg.dataDir != home) [ "d ${cfg.dataDir} 0700 blixard blixard -" ];

    systemd.services.blixard = {
      description = "Blixard node ${toString cfg.nodeId}";
      wantedBy = [ "multi-user.target" ];
      wants = [ "network-online.target" ];
      after = [
        "network-online.target"
      ]
      ++ lib.optional hasTailscale "tailscaled.service"
      ++ lib.optional (offers "microvm-nix") "nix-daemon.socket";

      path =
        lib.optional (offers "qemu") pkgs.qemu_kvm
        ++ lib.optional (offers "cloud-hypervisor") pkgs.cloud-hypervisor
        ++ lib.optionals (offers "microvm-nix") [
          config.nix.package
          pkgs.git
          pkgs.openssh
        ];

      environment = {
        BLIXARD_LOG = cfg.log;
      }
      // lib.optionalAttrs (offers "microvm-nix") {
        # The store is the daemon's to write to.
        NIX_REMOTE = "daemon";
        BLIXARD_NIX_TIMEOUT = cfg.microvmNix.timeout;
      }
      // lib.optionalAttrs (cfg.microvmNix.base != null) {
        BLIXARD_NIX_BASE = cfg.microvmNix.base;
      };

      # Never given up: a host that stays down loses its VMs to others.
      unitConfig.StartLimitIntervalSec = 0;
      # Switching to another system must not end VMs. The next daemon adopts them all the same.
      restartIfChanged = true;
      stopIfChanged = false;

      serviceConfig = {
        ExecStart = utils.escapeSystemdExecArgs ([ "${cfg.package}/bin/blixard" "node" ] ++ arguments);
        User = "blixard";
        Group = "blixard";
        SupplementaryGroups = [ "kvm" ];
        StateDirectory = lib.mkIf (cfg.dataDir == home) "blixard";
        StateDirectoryMode = "0700";
        ReadWritePaths = lib.mkIf (cfg.dataDir != home) [ cfg.dataDir ];

        # The VMs' supervisors outlive the daemon: the next one adopts what runs. They end their VMs by themselves when
        # no daemon extends the lease.
        KillMode = "process";
        # A VM that the kernel kills for want of memory must not take the daemon and all other VMs with it.
        OOMPolicy = "continue";
        # VMs may be given groups of their own below the service's.
        Delegate = true;
        TasksMax = "infinity";
        LimitNOFILE = 1048576;
        # SIGTERM hands leadership over, which takes up to 3 s.
        TimeoutStopSec = 15;
        Restart = "always";
        RestartSec = 1;
        # Bad arguments, and refused by the cluster: trying again does not help.
        RestartPreventExitStatus = [
          2
          3
        ];

        # What hypervisors need, and nothing else of /dev.
        DevicePolicy = "closed";
        DeviceAllow = [
          "/dev/kvm rw"
          "/dev/net/tun rw"
          "/dev/vhost-net rw"
          "/dev/vhost-vsock rw"
        ]
        ++ lib.optional (cfg.watchdog != null) "${cfg.watchdog} rw";
        AmbientCapabilities = if cfg.taps then [ "CAP_NET_ADMIN" ] else "";
        CapabilityBoundingSet = if cfg.taps then [ "CAP_NET_ADMIN" ] else "";

        # No PrivateTmp and no RemoveIPC: both would take things away from VMs that outlive the daemon. No
        # MemoryDenyWriteExecute: QEMU's translator writes code.
        LockPersonality = true;
        NoNewPrivileges = true;
        ProcSubset = "all"; # reads /proc/meminfo
        ProtectClock = true;
        ProtectControlGroups = false; # delegated, see above
        ProtectHome = true;
        ProtectHostname = true;
        ProtectKernelLogs = true;
        ProtectKernelModules = true;
        ProtectKernelTunables = true;
        ProtectProc = "invisible";
        ProtectSystem = "strict";
        RestrictAddressFamilies = [
          "AF_INET"
          "AF_INET6"
          "AF_UNIX"
          "AF_VSOCK"
        ]
        ++ lib.optional cfg.taps "AF_NETLINK";
        RestrictNamespaces = true;
        RestrictRealtime = true;
        RestrictSUIDSGID = true;
        SystemCallArchitectures = "native";
        UMask = "0077";
      };
    };
  };
}
