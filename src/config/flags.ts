/**
 * All flags of the command line in one table.
 *
 * The table is all there is to know about a flag: its type, default, environment variable, the commands that take it and its help text;
 * parsing, `--help` and docs/flags.md come from it. Names and meanings are flanneld's (flannel, `main.go`), with those added that
 * DESIGN.md section 9 names.
 *
 * @module
 */

import * as t from "./flag_types.ts";
import type { CommandName, Flag, FlagType } from "./flag.ts";
import { RUN } from "./flag.ts";

const KLOG = "it belongs to the logging library of flanneld";

/** The flags by name, in the order of help. */
export const FLAGS = {
  "json": {
    type: t.boolean,
    default: "false",
    group: "Output",
    env: null,
    commands: ["status", "peers", "plan", "cleanup", "plugin check", "version"],
    help: "print JSON",
  },
  "dry-run": {
    type: t.boolean,
    default: "false",
    group: "Output",
    env: null,
    commands: ["cleanup"],
    help: "print what would be removed, and remove nothing",
  },

  "cni-conf": {
    type: t.optional(t.path),
    default: "",
    group: "Installation",
    env: null,
    commands: ["install-cni"],
    help:
      "configuration to install; without it /etc/kube-flannel/cni-conf.json, and without that file the one of flannel's manifest",
  },
  "cni-conf-dir": {
    type: t.path,
    default: "/etc/cni/net.d",
    group: "Installation",
    env: null,
    commands: ["install-cni"],
    help: "where the runtime looks for configurations; it gets 10-flannel.conflist",
  },
  "cni-bin-dir": {
    type: t.path,
    default: "/opt/cni/bin",
    group: "Installation",
    env: null,
    commands: ["install-cni"],
    help: "where the runtime looks for plugins; it gets flannel",
  },

  "backend": {
    type: t.optional(t.backendName),
    default: "",
    group: "Network",
    help: "vxlan, host-gw, directrouting or the name of a plugin; without it Backend.Type of the network configuration, else vxlan",
  },
  "plugin-dir": {
    type: t.path,
    default: "/etc/weft/backends",
    repeatable: true,
    group: "Network",
    help: "directory with backends that are not built in",
  },
  "net-config-path": {
    type: t.path,
    default: "/etc/kube-flannel/net-conf.json",
    group: "Network",
    help:
      "network configuration for the embedded store and Kubernetes; etcd holds its own under the key config below --etcd-prefix",
  },
  "subnet-file": {
    type: t.path,
    default: "/run/flannel/subnet.env",
    group: "Network",
    help: "file that tells the CNI plugin this node's subnet and MTU",
  },
  "subnet-lease-renew-margin": {
    type: t.integer(1, 1439, "minutes"),
    default: "60",
    group: "Network",
    help: "minutes before its end at which a lease is renewed",
  },
  "ip-blackhole-route": {
    type: t.boolean,
    default: "false",
    group: "Network",
    help: "drop packets to addresses of the own subnet that no pod has, by a blackhole route",
  },

  "lease-db": {
    type: t.path,
    default: "/var/lib/weft/leases.db",
    group: "Lease store",
    help: "file of the embedded lease store, which is used unless etcd or Kubernetes is asked for",
  },
  "kube-subnet-mgr": {
    type: t.boolean,
    default: "false",
    group: "Lease store",
    help: "read leases from the Node objects of Kubernetes; any etcd flag or variable asks for etcd instead",
  },

  "etcd-endpoints": {
    type: t.endpoints,
    default: "http://127.0.0.1:4001,http://127.0.0.1:2379",
    group: "etcd",
    help: "the servers, with commas between",
  },
  "etcd-prefix": {
    type: t.keyPrefix,
    default: "/coreos.com/network",
    group: "etcd",
    help: "where in etcd the network configuration and the leases are",
  },
  "etcd-cafile": {
    type: t.optional(t.path),
    default: "",
    group: "etcd",
    help: "certificate of the authority that signed the servers' certificates; enough by itself for TLS",
  },
  "etcd-certfile": {
    type: t.optional(t.path),
    default: "",
    group: "etcd",
    help: "client certificate",
  },
  "etcd-keyfile": {
    type: t.optional(t.path),
    default: "",
    group: "etcd",
    help: "key of the client certificate",
  },
  "etcd-username": {
    type: { ...t.text, value: "NAME" },
    default: "",
    group: "etcd",
    help: "user to log in as",
  },
  "etcd-password": {
    type: t.secret,
    default: "",
    group: "etcd",
    help: "password of that user; the variable keeps it out of the list of processes",
  },

  "node-name": {
    type: t.optional({ ...t.text, value: "NAME" }),
    default: "",
    group: "Kubernetes",
    env: "NODE_NAME",
    help:
      "name of this node; without it the host name, but with --kube-subnet-mgr the node on which the pod POD_NAMESPACE/POD_NAME runs",
  },
  "kube-api-url": {
    type: t.optional(t.url),
    default: "",
    group: "Kubernetes",
    help: "the API server; without it and --kubeconfig-file the one that the pod was told",
  },
  "kubeconfig-file": {
    type: t.optional(t.path),
    default: "",
    group: "Kubernetes",
    help: "kubeconfig file with server and credentials",
  },
  "kube-annotation-prefix": {
    type: { ...t.text, value: "PREFIX" },
    default: "flannel.alpha.coreos.com",
    group: "Kubernetes",
    help: "prefix of the annotations that hold leases",
  },
  "set-node-network-unavailable": {
    type: t.boolean,
    default: "true",
    group: "Kubernetes",
    help: "keep the node's condition NetworkUnavailable: false once the agent is ready, true when it has not been for a minute",
  },

  "iface": {
    type: t.iface,
    default: "",
    repeatable: true,
    group: "Interface and addresses",
    help: "device that leads to the other nodes, by name or address; of several the first that fits",
  },
  "iface-regex": {
    type: t.ifaceRegex,
    default: "",
    repeatable: true,
    group: "Interface and addresses",
    help: "the same by a regular expression on addresses, then on names; tried after --iface",
  },
  "iface-can-reach": {
    type: t.optional(t.ifaceReach),
    default: "",
    group: "Interface and addresses",
    help: "the device over which the kernel reaches this address; tried last",
  },
  "public-ip": {
    type: t.optional(t.publicIp(4)),
    default: "",
    group: "Interface and addresses",
    help: "IPv4 address that other nodes send to, if it is not the device's own",
  },
  "public-ipv6": {
    type: t.optional(t.publicIp(6)),
    default: "",
    group: "Interface and addresses",
    help: "the same for IPv6",
  },

  "ip-masq": {
    type: t.boolean,
    default: "false",
    group: "Masquerade and forward rules",
    help: "masquerade what pods send out of the network",
  },
  "ip-masq-fully-random-disable": {
    type: t.boolean,
    default: "false",
    group: "Masquerade and forward rules",
    help: "do not choose the ports of masqueraded connections at random",
  },
  "iptables-forward-rules": {
    type: t.boolean,
    default: "true",
    group: "Masquerade and forward rules",
    help: "accept forwarded packets from and to the network",
  },
  "iptables-resync": {
    type: t.integer(1, 86400, "seconds"),
    default: "5",
    group: "Masquerade and forward rules",
    help: "seconds between two looks at the rules",
  },

  "status-listen": {
    type: t.listenAddress,
    default: "127.0.0.1:8473",
    group: "Status and health",
    commands: [...RUN, "status", "peers"],
    help: "where the agent serves status, metrics and its page: ip:port, unix:/path or off",
  },
  "healthz-ip": {
    type: t.ip,
    default: "0.0.0.0",
    group: "Status and health",
    help: "address for --healthz-port",
  },
  "healthz-port": {
    type: t.port,
    default: "0",
    group: "Status and health",
    help: "port that serves only /healthz and /readyz; 0 for none",
  },

  "log-format": {
    type: t.choice("text", "json"),
    default: "text",
    group: "Logging",
    help: "form of the lines on standard error",
  },
  "v": {
    type: t.integer(0, 2147483647),
    default: "0",
    group: "Logging",
    help: "more lines with each step",
  },
  "vmodule": { type: t.text, default: "", group: "Logging", idle: KLOG, help: "accepted for flanneld's sake" },
  "log_backtrace_at": { type: t.text, default: "", group: "Logging", idle: KLOG, help: "accepted for flanneld's sake" },

  "version": {
    type: t.boolean,
    default: "false",
    group: "General",
    env: null,
    commands: ["agent"],
    help: "print the version",
  },
} as const satisfies Readonly<Record<string, Flag>>;

/** The name of a flag. */
export type FlagName = keyof typeof FLAGS;

/** What each flag's value is. */
export type Values = {
  readonly [N in FlagName]: (typeof FLAGS)[N] extends { readonly repeatable: true } ? readonly Parsed<N>[] : Parsed<N>;
};
type Parsed<N extends FlagName> = (typeof FLAGS)[N]["type"] extends FlagType<infer T> ? T : never;

/** A flag without its special type, so that code can go over all of them. */
export function flagOf(name: FlagName): Flag {
  return FLAGS[name];
}

/** The environment variable that sets a flag, or `null`. */
export function envOf(name: FlagName): string | null {
  const { env } = flagOf(name);
  return env === undefined ? `FLANNELD_${name.toUpperCase().replaceAll("-", "_")}` : env;
}

/** The commands that take a flag. */
export function commandsOf(name: FlagName): readonly CommandName[] {
  return flagOf(name).commands ?? RUN;
}

/** The flags that a command takes, in the order of the table. */
export function flagsOf(command: CommandName): readonly FlagName[] {
  return (Object.keys(FLAGS) as FlagName[]).filter((name) => commandsOf(name).includes(command));
}
