# As much of nixpkgs as evaluating flake.nix and nix/module.nix takes, so that this needs no network: a module system with
# types that check, and packages that are names.
let
  types = rec {
    check = name: test: { inherit name test; };
    bool = check "bool" builtins.isBool;
    str = check "str" builtins.isString;
    path = check "path" (value: builtins.isPath value || builtins.isString value && builtins.match "/.*" value != null);
    package = check "package" (value: value ? outPath);
    ints.positive = check "positive integer" (value: builtins.isInt value && value > 0);
    strMatching = regex: check "str matching ${regex}" (value: builtins.isString value && builtins.match regex value != null);
    enum = values: check "one of ${builtins.toJSON values}" (value: builtins.elem value values);
    nullOr = type: check "null or ${type.name}" (value: value == null || type.test value);
    listOf = type: check "list of ${type.name}" (value: builtins.isList value && builtins.all type.test value);
    attrsOf = type: check "attrs of ${type.name}" (
      value: builtins.isAttrs value && builtins.all type.test (builtins.attrValues value)
    );
  };

  lib = {
    inherit types;
    inherit (builtins) genList;
    mkOption = option: option // { isOption = true; };
    mkEnableOption = what: {
      isOption = true;
      default = false;
      type = types.bool;
    };
    mkDefault = value: { mkDefault = value; };
    mkIf = condition: value: { mkIf = condition; inherit value; };
    optional = condition: value: if condition then [ value ] else [ ];
    optionals = condition: values: if condition then values else [ ];
    optionalAttrs = condition: attrs: if condition then attrs else { };
    hasPrefix = prefix: text: builtins.substring 0 (builtins.stringLength prefix) text == prefix;
    mapAttrsToList = f: attrs: map (name: f name attrs.${name}) (builtins.attrNames attrs);
    genAttrs = names: f: builtins.listToAttrs (map (name: { inherit name; value = f name; }) names);
    last = list: builtins.elemAt list (builtins.length list - 1);
    splitString = by: text: builtins.filter builtins.isString (builtins.split by text);
    toInt = builtins.fromJSON;
    importTOML = path: builtins.fromTOML (builtins.readFile path);
    fileset.toSource = source: source;
    fileset.unions = paths: paths;
    nixosSystem = { system, modules }: { config = evaluate modules; };
  };

  pkgs = lib.genAttrs [ "qemu_kvm" "git" "openssh" "cloud-hypervisor" "nix" ] named // {
    stdenv.hostPlatform.system = "x86_64-linux";
  };
  named = name: { outPath = "/pkgs/${name}"; };

  # Systemd's quoting is not under test here.
  utils.escapeSystemdExecArgs = builtins.concatStringsSep " ";

  # Definitions above defaults, attributes merged, lists joined.
  merge = a: b:
    if a ? mkDefault then (if b ? mkDefault then a else b)
    else if b ? mkDefault then a
    else if builtins.isList a && builtins.isList b then a ++ b
    else if builtins.isAttrs a && builtins.isAttrs b && !(a ? outPath) then
      a // builtins.mapAttrs (name: value: if a ? ${name} then merge a.${name} value else value) b
    else b;
  mergeAll = builtins.foldl' merge { };

  # Without conditions that do not hold.
  settled = value:
    if builtins.isAttrs value && value ? mkIf then
      (if value.mkIf then settled value.value else { isAbsent = true; })
    else if builtins.isAttrs value && value ? mkDefault then settled value.mkDefault
    else if builtins.isAttrs value && !(value ? outPath) then
      let
        all = builtins.mapAttrs (_: settled) value;
        isThere = name: !(builtins.isAttrs all.${name} && all.${name} ? isAbsent);
      in
      lib.genAttrs (builtins.filter isThere (builtins.attrNames all)) (name: all.${name})
    else value;

  load = args: module:
    let
      loaded = if builtins.isPath module then import module else module;
      content = if builtins.isFunction loaded then loaded args else loaded;
    in
    [ content ] ++ builtins.concatMap (load args) (content.imports or [ ]);

  optionsOf = path: options: given:
    if options ? isOption then
      let
        value = if given != null then settled given else options.default or (throw "${path} is not set");
      in
      if options.type.test value then value else throw "${path}: ${builtins.toJSON value} is not ${options.type.name}"
    else
      let
        unknown = if given == null then [ ] else builtins.filter (name: !(options ? ${name})) (builtins.attrNames given);
        inner = name: option: optionsOf "${path}.${name}" option (if given == null then null else given.${name} or null);
      in
      if unknown != [ ] then throw "${path} has no option ${builtins.head unknown}" else builtins.mapAttrs inner options;

  evaluate = modules:
    let
      all = builtins.concatMap (load { inherit lib pkgs utils; config = known; }) modules;
      declaring = builtins.filter (module: module ? options) all;
      # A module that declares options defines none of them.
      defining = builtins.filter (module: !(module ? options)) all;
      definitions = mergeAll (map (module: removeAttrs module [ "imports" ]) defining);
      declared = mergeAll (map (module: module.options) declaring);
      # What modules read. It depends on no definition that depends on it.
      known = {
        services.blixard = optionsOf "services.blixard" declared.services.blixard (definitions.services.blixard or null);
        nix.package = pkgs.nix;
      };
      # A config that is switched off as a whole is absent.
      present = config: if config ? isAbsent then { } else config;
    in
    mergeAll (map (module: present (settled (module.config or { }))) declaring ++ [ known ]);

  self = outputs // {
    packages.x86_64-linux.blixard = named "blixard";
  };
  nixpkgs = {
    inherit lib;
    legacyPackages = lib.genAttrs [ "x86_64-linux" "aarch64-linux" ] (_: {
      callPackage = path: _: import path (packageArguments // { inherit lib; });
      mkShell = shell: shell;
    } // lib.genAttrs tools named);
  };
  tools = [
    "binutils" "cargo" "cargo-deny" "clippy" "git" "grpcurl" "iproute2" "jq" "nix" "nixfmt-rfc-style" "protobuf_21" "qemu"
    "rust-analyzer" "rustc" "rustfmt" "util-linux"
  ];
  packageArguments = {
    protobuf_21 = named "protobuf_21";
    rustPlatform.buildRustPackage = package: package;
  };
  outputs = (import ../../flake.nix).outputs { inherit self nixpkgs; };

  unit = settings:
    let
      config = evaluate [
        outputs.nixosModules.default
        { services.blixard = { enable = true; nodeId = 2; } // settings; }
      ];
    in
    config.systemd.services.blixard
    // {
      firewall = config.networking.firewall.allowedTCPPorts or [ ];
      users = builtins.attrNames config.users.users;
      udev = config.services.udev.extraRules or "";
      tmpfiles = config.systemd.tmpfiles.rules or [ ];
    };
in
{
  outputs = builtins.attrNames outputs;
  package =
    let
      package = outputs.packages.x86_64-linux.default;
    in
    {
      inherit (package) pname version;
      missing = builtins.filter (path: !builtins.pathExists path) package.src.fileset;
    };
  shell = map toString outputs.devShells.x86_64-linux.default.packages;
  example = outputs.nixosConfigurations.example.config.systemd.services.blixard;
  plain = unit { };
  all = unit {
    bind = "10.0.0.2:7100";
    advertise = "two.example:7100";
    insecure = true;
    openFirewall = true;
    peers = [ "1:10.0.0.1:7001" "10.0.0.3:7001" ];
    discover = [ "dns:nodes.example:7001" "file:/etc/nodes" ];
    dataDir = "/srv/blixard";
    hypervisors = [ "microvm-nix" "cloud-hypervisor" ];
    microvmNix = { base = "github:me/base"; timeout = "45m"; };
    taps = true;
    watchdog = "/dev/watchdog0";
    vcpus = 8;
    memory = 4096;
    labels = { zone = "a"; disk = "ssd"; };
    extraFlags = [ "--log-format=json" ];
  };
  # Whether there is a unit without `enable`.
  off = evaluate [ outputs.nixosModules.default { } ] ? systemd;
  badPeer = unit { peers = [ "nobody" ]; };
  badSource = unit { discover = [ "file:relative" ]; };
  badHypervisor = unit { hypervisors = [ "xen" ]; };
  badWatchdog = unit { watchdog = "/dev/sda"; };
  badOption = unit { peer = "1:a:1"; };
}
