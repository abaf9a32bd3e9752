/**
 * The table of flags against flanneld's, and what is rendered from it.
 *
 * @module
 */

import { test } from "node:test";
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { type CommandName, COMMANDS, RUN } from "./flag.ts";
import { commandsOf, envOf, type FlagName, flagOf, FLAGS } from "./flags.ts";
import { renderReference } from "./flags_reference.ts";
import { renderHelp } from "./help.ts";

const NAMES = Object.keys(FLAGS) as FlagName[];

/** flanneld's flags and their defaults. Source: flannel, `main.go`. */
const FLANNELD: Readonly<Record<string, string>> = {
  "etcd-endpoints": "http://127.0.0.1:4001,http://127.0.0.1:2379",
  "etcd-prefix": "/coreos.com/network",
  "etcd-keyfile": "",
  "etcd-certfile": "",
  "etcd-cafile": "",
  "etcd-username": "",
  "etcd-password": "",
  "iface": "",
  "iface-regex": "",
  "iface-can-reach": "",
  "subnet-file": "/run/flannel/subnet.env",
  "public-ip": "",
  "public-ipv6": "",
  "subnet-lease-renew-margin": "60",
  "ip-masq": "false",
  "ip-masq-fully-random-disable": "false",
  "kube-subnet-mgr": "false",
  "kube-api-url": "",
  "kubeconfig-file": "",
  "kube-annotation-prefix": "flannel.alpha.coreos.com",
  "net-config-path": "/etc/kube-flannel/net-conf.json",
  "set-node-network-unavailable": "true",
  "healthz-ip": "0.0.0.0",
  "healthz-port": "0",
  "iptables-resync": "5",
  "iptables-forward-rules": "true",
  "ip-blackhole-route": "false",
  "version": "false",
  "v": "0",
  "vmodule": "",
  "log_backtrace_at": "",
};

test("the table has every flag of flanneld with its default", () => {
  for (const [name, text] of Object.entries(FLANNELD)) {
    assert.ok(Object.hasOwn(FLAGS, name), name);
    assert.equal(flagOf(name as FlagName).default, text, name);
  }
});

test("every default is a value that its flag allows", () => {
  for (const name of NAMES) {
    const { default: text, repeatable, type } = flagOf(name);
    if (!(repeatable && text === "")) assert.notEqual(type.parse(text), undefined, name);
  }
});

test("a variable is called after its flag, and no two flags share one", () => {
  assert.equal(envOf("etcd-endpoints"), "FLANNELD_ETCD_ENDPOINTS");
  assert.equal(envOf("log_backtrace_at"), "FLANNELD_LOG_BACKTRACE_AT");
  assert.equal(envOf("node-name"), "NODE_NAME");
  assert.equal(envOf("version"), null);
  const variables = NAMES.flatMap((name) => envOf(name) ?? []);
  assert.equal(new Set(variables).size, variables.length);
});

test("plan and cleanup take all that the agent takes, except --version", () => {
  for (const name of NAMES.filter((name) => name !== "version" && commandsOf(name).includes("agent"))) {
    for (const command of RUN) assert.ok(commandsOf(name).includes(command), `${command} --${name}`);
  }
});

test("help names every flag of a command with default and variable, in lines of at most 100 columns", () => {
  for (const command of Object.keys(COMMANDS) as CommandName[]) {
    const help = renderHelp("agent", command);
    const flat = help.replace(/\s+/g, " ");
    for (const line of help.split("\n")) assert.ok(line.length <= 100, line);
    for (const name of NAMES) {
      assert.equal(new RegExp(`^  --${name}[= \n]`, "m").test(help), commandsOf(name).includes(command), `${command} --${name}`);
    }
    if (RUN.includes(command)) {
      for (const name of Object.keys(FLANNELD) as FlagName[]) {
        const variable = envOf(name);
        if (variable !== null) assert.ok(flat.includes(`env ${variable})`), `${command} ${variable}`);
      }
      assert.ok(flat.includes("(default 60, env FLANNELD_SUBNET_LEASE_RENEW_MARGIN)"));
    }
  }
});

test("docs/flags.md is what the table says; else run scripts/write_flags_reference.ts", () => {
  assert.equal(readFileSync(new URL("../../docs/flags.md", import.meta.url), "utf8"), renderReference());
});
