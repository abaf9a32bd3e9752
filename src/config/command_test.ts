/**
 * Command lines and environments, and what they make the executable do or say.
 *
 * @module
 */

import { test } from "node:test";
import assert from "node:assert/strict";
import type { Environment } from "./args.ts";
import { type Command, parseCommand } from "./command.ts";
import { UsageError } from "./errors.ts";
import type { Settings } from "./settings.ts";

function agent(args: readonly string[], env: Environment = {}, argv0 = "agent"): Settings {
  const command = parseCommand(argv0, args, env);
  assert.ok(command.name === "agent");
  return command.settings;
}

function warnings(args: readonly string[], env: Environment = {}): readonly string[] {
  const command = parseCommand("agent", args, env);
  assert.ok(command.name === "agent");
  return command.warnings;
}

/** The message of a usage error, which is always one line. */
function usage(args: readonly string[], env: Environment = {}, argv0 = "agent"): string {
  let command: Command;
  try {
    command = parseCommand(argv0, args, env);
  } catch (error) {
    assert.ok(error instanceof UsageError, String(error));
    assert.ok(!/[\r\n\u2028]/.test(error.message), error.message);
    return error.message;
  }
  assert.fail(`no error, but ${command.name}`);
}

test("without arguments the agent runs with every default", () => {
  assert.deepEqual(parseCommand("/usr/bin/agent", [], {}), {
    name: "agent",
    warnings: [],
    settings: {
      store: { kind: "embedded", file: "/var/lib/weft/leases.db" },
      backend: null,
      pluginDirs: ["/etc/weft/backends"],
      netConfig: { path: "/etc/kube-flannel/net-conf.json", given: false },
      subnetFile: "/run/flannel/subnet.env",
      nodeName: null,
      interfaces: [],
      publicIp: null,
      publicIpv6: null,
      renewMarginMinutes: 60,
      blackholeRoute: false,
      ipMasq: false,
      ipMasqFullyRandom: true,
      forwardRules: true,
      rulesResyncSeconds: 5,
      statusListen: { address: { ip: "127.0.0.1", port: 8473 }, given: false },
      healthz: null,
      logFormat: "text",
      verbosity: 0,
    },
  });
});

test("flags are read as Go reads them", () => {
  const two = ["-ip-masq", "--iptables-forward-rules=F", "-healthz-port", "8081", "--v=4", "-node-name", "-x", "--healthz-ip=::"];
  const settings = agent(two);
  assert.deepEqual(
    [settings.ipMasq, settings.forwardRules, settings.healthz, settings.verbosity, settings.nodeName],
    [true, false, { ip: "::", port: 8081 }, 4, "-x"],
  );
  assert.equal(agent(["--node-name=a=b"]).nodeName, "a=b");
  assert.equal(agent(["--ip-masq", "--ip-masq=false"]).ipMasq, false, "the last one counts");
  assert.equal(agent(["--ip-masq", "--"]).ipMasq, true);
});

test("a flag goes before its variable, which goes before the default; an empty variable is none", () => {
  const env = { FLANNELD_IP_MASQ: "true", FLANNELD_HEALTHZ_PORT: "1", FLANNELD_SUBNET_FILE: "", NODE_NAME: "n1", FLANNELD_V: "2" };
  const settings = agent(["--healthz-port=2", "--ip-masq=false"], env);
  assert.deepEqual([settings.ipMasq, settings.healthz?.port, settings.subnetFile], [false, 2, "/run/flannel/subnet.env"]);
  assert.deepEqual([settings.nodeName, settings.verbosity], ["n1", 2]);
  assert.equal(agent(["--node-name=n2"], env).nodeName, "n2");
  assert.deepEqual(agent(["--iface=a", "--iface=b"], { FLANNELD_IFACE: "c" }).interfaces.length, 2);
});

test("interfaces are tried by name or address, then by regex, then by reach", () => {
  const args = ["--iface-can-reach=192.0.2.9", "--iface-regex=^en", "--iface=eth1", "--iface-regex=^10\\.", "--iface=192.0.2.1"];
  assert.deepEqual(agent(args).interfaces, [
    { by: "name", name: "eth1" },
    { by: "address", ip: "192.0.2.1" },
    { by: "regex", regex: /^en/u },
    { by: "regex", regex: /^10\./u },
    { by: "reach", ip: "192.0.2.9" },
  ]);
  assert.deepEqual(agent([], { FLANNELD_IFACE: "eth1" }).interfaces, [{ by: "name", name: "eth1" }]);
});

test("what was given is told from what is the default", () => {
  const given = agent(["--status-listen=127.0.0.1:8473"], { FLANNELD_NET_CONFIG_PATH: "/etc/kube-flannel/net-conf.json" });
  assert.deepEqual([given.statusListen.given, given.netConfig.given], [true, true]);
  assert.deepEqual(agent(["--status-listen=off"]).statusListen, { address: null, given: true });
});

test("directories of plugins replace the default one", () => {
  assert.deepEqual(agent(["--plugin-dir=/a", "--plugin-dir", "/b"]).pluginDirs, ["/a", "/b"]);
});

const WRONG: readonly (readonly [args: readonly string[], env: Environment, message: RegExp])[] = [
  [["--ip-mask"], {}, /^Unknown flag "--ip-mask": the nearest is --ip-masq \(see "agent --help"\)$/],
  [["-etcd-endpoint=x"], {}, /"--etcd-endpoint": the nearest is --etcd-endpoints/],
  [["--etcd-pasword=hunter2"], {}, /^Unknown flag "--etcd-pasword": the nearest is --etcd-password/],
  [["---ip-masq"], {}, /^Unknown flag "---ip-masq": the nearest is --ip-masq/],
  [["--a\nb"], {}, /^Unknown flag "--a\\nb"/],
  [["--healthz-port=99999"], {}, /^Cannot use "99999" for --healthz-port: expected a whole number from 0 to 65535$/],
  [[], { FLANNELD_HEALTHZ_PORT: "x" }, /^Cannot use "x" for FLANNELD_HEALTHZ_PORT: expected a whole number from 0 to 65535$/],
  [["--ip-masq=yes"], {}, /^Cannot use "yes" for --ip-masq: expected true or false$/],
  [["--subnet-lease-renew-margin=0"], {}, /"0" for --subnet-lease-renew-margin: expected a whole number of minutes from 1 to 1439/],
  [["--subnet-lease-renew-margin=1440"], {}, /from 1 to 1439/],
  [["--public-ip=2001:db8::1"], {}, /for --public-ip: expected an IPv4 address/],
  [["--public-ipv6=192.0.2.1"], {}, /for --public-ipv6: expected an IPv6 address/],
  [["--iface-can-reach=gw"], {}, /for --iface-can-reach: expected an IP address/],
  [["--iface="], {}, /^Cannot use "" for --iface: expected the name of a network device/],
  [["--iface-regex=("], {}, /for --iface-regex: expected a regular expression/],
  [["--log-format=xml"], {}, /for --log-format: expected text or json/],
  [["--status-listen=8473"], {}, /for --status-listen: expected ip:port such as/],
  [["--healthz-port=1", "--healthz-port=x"], {}, /"x" for --healthz-port/],
  [["--healthz-port=x", "--healthz-port=1"], {}, /"x" for --healthz-port/],
  [["--node-name"], {}, /^Flag --node-name needs a value: expected any text$/],
  [["--ip-masq", "false"], {}, /^Cannot use the argument "false": .*--ip-masq=false$/],
  [["--", "x"], {}, /^Cannot use the argument "x"/],
  [["-"], {}, /^Cannot use the argument "-"/],
  [["--ip-masq", "plan"], {}, /^Cannot take the subcommand "plan" behind flags: write it first, as in "agent plan --help"$/],
  [["doctor"], {}, /^Unknown subcommand "doctor": .* there are status, peers, plan, cleanup, /],
  [["statsu"], {}, /^Unknown subcommand "statsu": the nearest is status, and /],
  [["agent"], {}, /^Unknown subcommand "agent"/],
  [[""], {}, /^Unknown subcommand ""/],
  [["toString"], {}, /^Unknown subcommand "toString"/],
  [["--toString"], {}, /^Unknown flag "--toString"/],
  [["status", "--iface=eth0"], {}, /^Unknown flag --iface: it is not one of "agent status", which takes --json, --status-listen$/],
  [["status", "x"], {}, /^Cannot use the argument "x"/],
  [["--json"], {}, /^Unknown flag --json: it is not one of "agent"/],
  [["peers", "--status-listen=off"], {}, /^Cannot ask the agent for its peers: --status-listen is off/],
  [["status"], { FLANNELD_STATUS_LISTEN: "off" }, /FLANNELD_STATUS_LISTEN is off/],
  [["--etcd-certfile=/c"], {}, /give both --etcd-certfile and --etcd-keyfile/],
  [["--etcd-keyfile=/k"], {}, /give both/],
  [["--etcd-password=hunter2"], {}, /^Cannot use --etcd-password without a user/],
  [["--etcd-endpoints=http://root:hunter2@h:2379"], {}, /^Cannot use this value for --etcd-endpoints: .*--etcd-username/],
];

test("wrong usage is one line that names flag or variable, value and what is expected", () => {
  for (const [args, env, message] of WRONG) {
    assert.match(usage(args, env), message);
    assert.doesNotMatch(usage(args, env), /hunter2/);
  }
});

test("the lease store is the one that is asked for", () => {
  const kind = (args: readonly string[], env: Environment = {}, argv0 = "agent") => agent(args, env, argv0).store.kind;
  assert.equal(kind(["--etcd-prefix=/x"]), "etcd");
  assert.equal(kind([], { FLANNELD_ETCD_CAFILE: "/ca" }), "etcd");
  assert.equal(kind([], { FLANNELD_ETCD_CAFILE: "" }), "embedded");
  assert.equal(kind(["--kube-subnet-mgr"]), "kubernetes");
  assert.equal(kind([], { FLANNELD_KUBE_SUBNET_MGR: "1" }), "kubernetes");
  assert.equal(kind(["--kube-subnet-mgr=false", "--etcd-prefix=/x"]), "etcd");
  assert.equal(kind([], {}, "/opt/bin/flanneld"), "etcd");
  assert.equal(kind(["--kube-subnet-mgr"], {}, "flanneld"), "kubernetes");
  assert.equal(kind(["--lease-db=/x"], {}, "flanneld"), "embedded");
  assert.equal(kind([], {}, "/flanneld/agent"), "embedded");
});

test("called as flanneld, leases are in etcd on this machine", () => {
  assert.deepEqual(agent([], {}, "flanneld").store, {
    kind: "etcd",
    endpoints: ["http://127.0.0.1:4001", "http://127.0.0.1:2379"],
    prefix: "/coreos.com/network",
    caFile: null,
    certFile: null,
    keyFile: null,
    user: null,
  });
});

test("two lease stores at once are wrong usage that names both", () => {
  const cases: readonly (readonly [readonly string[], Environment])[] = [
    [["--kube-subnet-mgr", "--etcd-endpoints=http://h:1"], {}],
    [["--kube-subnet-mgr"], { FLANNELD_ETCD_PREFIX: "/x" }],
    [["--lease-db=/x", "--kube-subnet-mgr"], {}],
    [["--lease-db=/x", "--etcd-prefix=/y"], {}],
    [["--etcd-prefix=/y"], { FLANNELD_LEASE_DB: "/x" }],
  ];
  for (const [args, env] of cases) assert.match(usage(args, env), /^Cannot keep leases in .* at once/);
  assert.match(
    usage(["--kube-subnet-mgr"], { FLANNELD_ETCD_PREFIX: "/x" }),
    /Kubernetes \(--kube-subnet-mgr\) and etcd \(FLANNELD_ETCD_PREFIX\)/,
  );
  assert.match(usage(["--lease-db=/x"], { FLANNELD_ETCD_PREFIX: "/x" }, "flanneld"), /at once/);
});

test("etcd endpoints without a scheme are secure where a certificate is given", () => {
  const endpoints = (...args: string[]) => {
    const { store } = agent(["--etcd-endpoints=h:1,http://i:2", ...args]);
    return store.kind === "etcd" ? store.endpoints : [];
  };
  assert.deepEqual(endpoints(), ["http://h:1", "http://i:2"]);
  assert.deepEqual(endpoints("--etcd-cafile=/ca"), ["https://h:1", "http://i:2"]);
});

test("a password is there for who asks, and in no print of the settings", () => {
  const settings = agent(["--etcd-username=root"], { FLANNELD_ETCD_PASSWORD: "hunter2" });
  assert.ok(settings.store.kind === "etcd");
  assert.equal(settings.store.user?.password.reveal(), "hunter2");
  assert.doesNotMatch(JSON.stringify(settings), /hunter2/);
});

test("Kubernetes gets its own flags and the pod that the agent runs in", () => {
  const env = { POD_NAMESPACE: "kube-system", POD_NAME: "weft-x" };
  assert.deepEqual(agent(["--kube-subnet-mgr", "--kube-api-url=https://h:6443/"], env).store, {
    kind: "kubernetes",
    apiUrl: "https://h:6443",
    kubeconfigFile: null,
    annotationPrefix: "flannel.alpha.coreos.com",
    setNodeNetworkUnavailable: true,
    pod: { namespace: "kube-system", name: "weft-x" },
  });
  const { store } = agent(["--kube-subnet-mgr"], { POD_NAME: "weft-x" });
  assert.equal(store.kind === "kubernetes" && store.pod, null);
});

test("flags and variables that do nothing are warned of", () => {
  assert.deepEqual(warnings(["--ip-masq"], { HOME: "/", FLANNELD_PORT_80_TCP: "x", FLANNELD_VERSION: "true" }), []);
  assert.match(warnings(["--vmodule=x=1"])[0]!, /^--vmodule does nothing: /);
  assert.match(warnings([], { FLANNELD_LOG_BACKTRACE_AT: "x" })[0]!, /^FLANNELD_LOG_BACKTRACE_AT does nothing/);
  assert.match(warnings(["--kubeconfig-file=/x"])[0]!, /^--kubeconfig-file does nothing without --kube-subnet-mgr$/);
  assert.match(warnings(["--net-config-path=/x", "--etcd-prefix=/y"])[0]!, /^--net-config-path does nothing: etcd holds/);
  assert.match(
    warnings([], { FLANNELD_ETCD_ENDPIONTS: "x" })[0]!,
    /"FLANNELD_ETCD_ENDPIONTS" is not used: the nearest is FLANNELD_ETCD_ENDPOINTS$/,
  );
  assert.match(warnings([], { FLANNELD_NODE_NAME: "x" })[0]!, /the nearest is NODE_NAME$/);
});

test("subcommands take their own flags", () => {
  assert.deepEqual(parseCommand("agent", ["status"], {}), {
    name: "status",
    address: { ip: "127.0.0.1", port: 8473 },
    json: false,
  });
  assert.deepEqual(parseCommand("agent", ["peers", "--json", "--status-listen=unix:/s"], {}), {
    name: "peers",
    address: { path: "/s" },
    json: true,
  });
  const plan = parseCommand("agent", ["plan", "--json", "--backend=host-gw"], {});
  assert.ok(plan.name === "plan" && plan.json && plan.settings.backend === "host-gw");
  const cleanup = parseCommand("agent", ["cleanup", "-dry-run", "-ip-masq"], {});
  assert.ok(cleanup.name === "cleanup" && cleanup.dryRun && !cleanup.json && cleanup.settings.ipMasq);
  assert.deepEqual(parseCommand("agent", ["version", "--json"], {}), { name: "version", json: true });
  assert.deepEqual(parseCommand("agent", ["--version"], {}), { name: "version", json: false });
});

test("every command has help, whatever else is wrong with variables and later flags", () => {
  for (const command of ["status", "peers", "plan", "cleanup", "version"]) {
    const help = parseCommand("agent", [command, "--help", "--nonsense"], { FLANNELD_HEALTHZ_PORT: "x" });
    assert.ok(help.name === "help" && help.text.startsWith(`Usage: agent ${command} [flags]\n`));
  }
  for (const flag of ["-h", "--h", "-help", "--help"]) {
    const help = parseCommand("flanneld", [flag], {});
    assert.ok(help.name === "help" && help.text.startsWith("Usage: flanneld [flags]\n"));
  }
});

test("no arguments or variables make more of a mess than a usage error of one line", () => {
  const words = [
    "--",
    "-",
    "=",
    "ip-masq",
    "iface-regex",
    "healthz-port",
    "status",
    "plan",
    "h",
    "true",
    "\n",
    "\ud800",
    "(",
    "9",
    "@",
    "*",
    "http://",
    "[::1]",
    "%",
    ",",
    "\u2028",
  ];
  let seed = 20260101;
  const next = (below: number) => (seed = (seed * 48271) % 2147483647) % below;
  const text = () => Array.from({ length: next(5) }, () => words[next(words.length)]).join("");
  for (let i = 0; i < 20_000; i++) {
    const args = Array.from({ length: next(4) }, text);
    const env = {
      FLANNELD_IFACE: text(),
      FLANNELD_STATUS_LISTEN: text(),
      FLANNELD_ETCD_ENDPOINTS: text(),
      [`FLANNELD_${text()}`]: text(),
    };
    try {
      parseCommand("agent", args, next(2) === 0 ? env : {});
    } catch (error) {
      assert.ok(error instanceof UsageError, `${JSON.stringify([args, env])}: ${error}`);
      assert.match(error.message, /^[^\p{Cc}\u2028\u2029]{1,1200}$/u, JSON.stringify([args, env]));
    }
  }
});

test("install-cni says what goes where; docker-opts and install-conf take arguments of their own", () => {
  const conf = { confDir: "/etc/cni/net.d", binDir: "/opt/cni/bin" };
  assert.deepEqual(parseCommand("agent", ["install-cni"], {}), { name: "install-cni", conf: null, ...conf });
  assert.deepEqual(parseCommand("agent", ["install-cni", "--cni-conf=/c.json", "-cni-bin-dir", "/b"], {}), {
    ...{ name: "install-cni", conf: "/c.json", ...conf, binDir: "/b" },
  });
  assert.match(usage(["install-cni", "--iface=eth0"]), /--cni-conf-dir/);
  assert.deepEqual(parseCommand("agent", ["docker-opts", "-i", "--help"], {}), { name: "docker-opts", args: ["-i", "--help"] });
  assert.deepEqual(parseCommand("/opt/bin/install-conf", ["--x", "agent"], {}), { name: "install-conf", args: ["--x", "agent"] });
});

test("plugin check takes a file and plugin new a name, whatever stands first", () => {
  const check = { name: "plugin check", file: "mine.ts", json: true };
  assert.deepEqual(parseCommand("agent", ["plugin", "check", "mine.ts", "--json"], {}), check);
  assert.deepEqual(parseCommand("agent", ["plugin", "check", "--json", "mine.ts"], {}), check);
  assert.deepEqual(parseCommand("agent", ["plugin", "new", "mine"], {}), { name: "plugin new", backend: "mine" });
  const help = parseCommand("agent", ["plugin", "check", "--help"], {});
  assert.match((help as { readonly text: string }).text, /^Usage: agent plugin check FILE \[flags\]/);
  const both = /expected "agent plugin check FILE" or "agent plugin new NAME"/;
  assert.match(usage(["plugin"]), both);
  assert.match(usage(["plugin", "chekc", "mine.ts"]), both);
  assert.match(usage(["plugin", "check"]), /expected "agent plugin check FILE", with one FILE/);
  assert.match(usage(["plugin", "check", "a.ts", "b.ts"]), /with one FILE/);
  assert.match(usage(["plugin", "new", "mine", "--json"]), /--json/);
});
