/**
 * The executable prepares a node: the CNI plugin and its configuration, in the ways of flannel's init containers, and Docker's options.
 *
 * @module
 */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, beforeEach, test } from "node:test";
import { fileURLToPath } from "node:url";
import { AGENT } from "../../scripts/build.mjs";

const FLANNEL_CONF = '{"name":"cbr0","cniVersion":"0.3.1","plugins":[{"type":"flannel"},{"type":"portmap"}]}\n';

let node = "";
const at = (path: string) => join(node, path);

beforeEach(() => {
  after(() => fs.rmSync(node, { recursive: true, force: true }));
  node = fs.mkdtempSync(join(tmpdir(), "weft-node-"));
  for (const folder of ["net.d", "bin", "image"]) fs.mkdirSync(at(folder));
  fs.writeFileSync(at("image/cni-conf.json"), FLANNEL_CONF, { mode: 0o640 });
  for (const name of ["flannel", "install-conf"]) fs.symlinkSync(AGENT, at(`image/${name}`));
});

function call(command: readonly string[], env: Record<string, string> = {}) {
  const { status, stdout, stderr, error } = spawnSync(command[0]!, command.slice(1), { encoding: "utf8", env, timeout: 20_000 });
  assert.equal(error, undefined);
  return { status, stdout, stderr };
}

/** What the plugin in the node's folder answers to VERSION. */
function pluginAnswers(): unknown {
  return JSON.parse(call([at("bin/flannel")], { CNI_COMMAND: "VERSION" }).stdout).supportedVersions?.includes("1.0.0");
}

const FLAGS = () => ["--cni-conf", at("image/cni-conf.json"), `--cni-conf-dir=${at("net.d")}`, `--cni-bin-dir=${at("bin")}`];

test("agent install-cni installs a plugin that works and its configuration, and a second call changes nothing", () => {
  fs.writeFileSync(at("net.d/99-loopback.conf"), "another's");
  const first = call([AGENT, "install-cni", ...FLAGS()]);
  assert.equal(first.status, 0, first.stderr);
  assert.match(
    first.stdout,
    /^installed .*\/bin\/flannel\ninstalled .*\/net\.d\/10-flannel\.conflist\nnote: .* no plugin "bridge"/,
  );
  assert.equal(pluginAnswers(), true);
  assert.equal(fs.readFileSync(at("net.d/10-flannel.conflist"), "utf8"), FLANNEL_CONF);
  const inode = fs.statSync(at("bin/flannel")).ino;
  const second = call([AGENT, "install-cni", ...FLAGS()]);
  assert.match(second.stdout, /^.*\/bin\/flannel is up to date\n.*conflist is up to date\n/);
  assert.equal(fs.statSync(at("bin/flannel")).ino, inode);
  assert.deepEqual(fs.readdirSync(at("net.d")).sort(), ["10-flannel.conflist", "99-loopback.conf"]);
  assert.deepEqual(fs.readdirSync(at("bin")), ["flannel"]);
});

test("the commands of flannel's init containers do the same: cp of /flannel, and install-conf", () => {
  assert.equal(call(["/bin/cp", "-f", at("image/flannel"), at("bin/flannel")]).status, 0);
  assert.equal(pluginAnswers(), true);
  const target = at("net.d/10-flannel.conflist");
  assert.deepEqual(call([at("image/install-conf"), at("image/cni-conf.json"), target]), {
    ...{ status: 0, stdout: `installed ${target}\n`, stderr: "" },
  });
  assert.equal(fs.readFileSync(target, "utf8"), FLANNEL_CONF);
  assert.equal(fs.statSync(target).mode & 0o777, 0o640);
});

test("what can not be installed is said in one line, and what is there stays", () => {
  const target = at("net.d/10-flannel.conflist");
  fs.writeFileSync(target, FLANNEL_CONF);
  fs.writeFileSync(at("image/cni-conf.json"), '{"name":');
  const broken = [[AGENT, "install-cni", ...FLAGS()], [at("image/install-conf"), at("image/cni-conf.json"), target]];
  for (const command of [...broken, [at("image/install-conf"), target], [AGENT, "install-cni", "--cni-bin-dir=/dev/null/bin"]]) {
    const { status, stderr } = call(command);
    assert.equal(status, 1);
    assert.match(stderr, /^agent: [^\n]+\n$/);
  }
  assert.equal(call([AGENT, "install-cni", "--cni-bindir=/x"]).status, 2);
  assert.equal(fs.readFileSync(target, "utf8"), FLANNEL_CONF);
  assert.deepEqual(fs.readdirSync(at("bin")), []);
});

test("an agent that runs from its sources does not install its runtime as a plugin", () => {
  const source = fileURLToPath(new URL("../../src/cli.ts", import.meta.url));
  const { status, stderr } = call([process.execPath, source, "install-cni", ...FLAGS()]);
  assert.deepEqual([status, fs.readdirSync(at("bin"))], [1, []]);
  assert.match(stderr, /only the compiled agent is one/);
});

test("agent docker-opts writes what mk-docker-opts.sh writes", () => {
  fs.writeFileSync(at("subnet.env"), "FLANNEL_SUBNET=10.1.74.1/24\nFLANNEL_MTU=1472\nFLANNEL_IPMASQ=false\n");
  const { status, stderr } = call([AGENT, "docker-opts", "-f", at("subnet.env"), "-d", at("docker.env"), "-ck", "OPTS"]);
  assert.equal(status, 0, stderr);
  assert.equal(fs.readFileSync(at("docker.env"), "utf8"), 'OPTS=" --bip=10.1.74.1/24 --ip-masq=true --mtu=1472"\n');
  assert.equal(call([AGENT, "docker-opts", "-x"]).status, 1);
  assert.match(call([AGENT, "docker-opts", "--help"]).stdout, /-k NAME/);
});
