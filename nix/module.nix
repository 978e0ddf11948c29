# One member of a Blixard cluster as a systemd service.
#
#   services.blixard = {
#     enable = true;
#     nodeId = 2;
#     bind = "127.0.0.1:7001";
#     peers = [ "1:127.0.0.1:7000" ];
#   };
{
  config,
  lib,
  utils,
  ...
}:
let
  cfg = config.services.blixard;
  home = "/var/lib/blixard";
  # The daemon refuses what it cannot parse; what is checked here is what would only show at run time.
  address = lib.types.strMatching ".+:[0-9]+";
  arguments = [
    "--id=${toString cfg.nodeId}"
    "--bind=${cfg.bind}"
    "--data-dir=${cfg.dataDir}"
  ]
  ++ lib.optional (cfg.advertise != null) "--advertise=${cfg.advertise}"
  ++ lib.optional cfg.bootstrap "--bootstrap"
  ++ lib.optional cfg.insecure "--insecure"
  ++ map (peer: "--peer=${peer}") cfg.peers
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
      type = lib.types.listOf (lib.types.strMatching "[1-9][0-9]*:.+:[0-9]+");
      default = [ ];
      example = [ "1:10.0.0.1:7001" ];
      description = ''
        Members to join through, as `ID:HOST:PORT`. With none, an empty data directory becomes the
        first member of a new cluster.
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
      example = [ "--memory=16384" ];
      description = "More flags for `blixard node`.";
    };
  };

  config = lib.mkIf cfg.enable {
    environment.systemPackages = [ cfg.package ];

    networking.firewall.allowedTCPPorts = lib.mkIf cfg.openFirewall [
      (lib.toInt (lib.last (lib.splitString ":" cfg.bind)))
    ];

    users.users.blixard = {
      isSystemUser = true;
      group = "blixard";
      home = cfg.dataDir;
    };
    users.groups.blixard = { };

    systemd.tmpfiles.rules = lib.mkIf (cfg.dataDir != home) [ "d ${cfg.dataDir} 0700 blixard blixard -" ];

    systemd.services.blixard = {
      description = "Blixard node ${toString cfg.nodeId}";
      wantedBy = [ "multi-user.target" ];
      wants = [ "network-online.target" ];
      after = [ "network-online.target" ];
      environment.BLIXARD_LOG = cfg.log;

      # Never given up: a host that stays down loses its VMs to others.
      unitConfig.StartLimitIntervalSec = 0;

      serviceConfig = {
        ExecStart = utils.escapeSystemdExecArgs ([ "${cfg.package}/bin/blixard" "node" ] ++ arguments);
        User = "blixard";
        Group = "blixard";
        StateDirectory = lib.mkIf (cfg.dataDir == home) "blixard";
        StateDirectoryMode = "0700";
        ReadWritePaths = lib.mkIf (cfg.dataDir != home) [ cfg.dataDir ];

        # The VMs' supervisors outlive the daemon: the next one adopts what runs. They end their VMs by themselves when
        # no daemon extends the lease.
        KillMode = "process";
        # SIGTERM hands leadership over, which takes up to 3 s.
        TimeoutStopSec = 15;
        Restart = "always";
        RestartSec = 1;
        # Bad arguments, and refused by the cluster: trying again does not help.
        RestartPreventExitStatus = [
          2
          3
        ];
        LimitNOFILE = 65536;

        # No PrivateTmp and no RemoveIPC: both would take things away from VMs that outlive the daemon.
        AmbientCapabilities = "";
        CapabilityBoundingSet = "";
        LockPersonality = true;
        NoNewPrivileges = true;
        PrivateDevices = true;
        ProcSubset = "all"; # reads /proc/meminfo
        ProtectClock = true;
        ProtectControlGroups = true;
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
        ];
        RestrictNamespaces = true;
        RestrictRealtime = true;
        RestrictSUIDSGID = true;
        SystemCallArchitectures = "native";
        UMask = "0077";
      };
    };
  };
}
