import assert from "node:assert/strict";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { installCni, installConf } from "./install.ts";

const CONF = '{"name":"cbr0","plugins":[{"type":"flannel","delegate":{"isDefaultGateway":true}},{"type":"portmap"}]}\n';

/** A node's folders and the image's files. */
function withNode(
  body: (node: { dir: string; path: (name: string) => string; said: string[]; install: () => void }) => void,
): void {
  const dir = fs.mkdtempSync(join(tmpdir(), "weft-install-"));
  const path = (name: string) => join(dir, name);
  const said: string[] = [];
  fs.writeFileSync(path("agent"), Buffer.alloc(3 << 20, "x"), { mode: 0o700 });
  fs.writeFileSync(path("cni-conf.json"), CONF, { mode: 0o644 });
  fs.mkdirSync(path("bin"));
  const options = { conf: path("cni-conf.json"), confDir: path("etc/net.d"), binDir: path("bin"), executable: path("agent") };
  try {
    body({ dir, path, said, install: () => installCni(options, (line) => said.push(line)) });
  } finally {
    fs.rmSync(dir, { recursive: true });
  }
}

test("installCni() installs the plugin, then the configuration, and names the plugins that are missing", () =>
  withNode(({ path, said, install }) => {
    fs.writeFileSync(path("bin/bridge"), "");
    install();
    assert.deepEqual(fs.readFileSync(path("bin/flannel")), fs.readFileSync(path("agent")));
    assert.equal(fs.statSync(path("bin/flannel")).mode & 0o777, 0o755);
    assert.equal(fs.readFileSync(path("etc/net.d/10-flannel.conflist"), "utf8"), CONF);
    assert.deepEqual(said.slice(0, 2), [`installed ${path("bin/flannel")}`, `installed ${path("etc/net.d/10-flannel.conflist")}`]);
    assert.deepEqual(said.slice(2).map((line) => /no plugin "(.*?)"/.exec(line)?.[1]), ["host-local", "portmap"]);
    assert.deepEqual(fs.readdirSync(path("bin")).sort(), ["bridge", "flannel"]);
  }));

test("installCni() touches nothing that is as it should be, nor what others put there", () =>
  withNode(({ path, said, install }) => {
    install();
    fs.writeFileSync(path("etc/net.d/00-other.conf"), "{}");
    const before = [path("bin/flannel"), path("etc/net.d/10-flannel.conflist")].map((file) => fs.statSync(file).ino);
    said.length = 0;
    install();
    assert.deepEqual([path("bin/flannel"), path("etc/net.d/10-flannel.conflist")].map((file) => fs.statSync(file).ino), before);
    assert.match(said[0]!, /flannel is up to date$/);
    assert.deepEqual(fs.readdirSync(path("etc/net.d")).sort(), ["00-other.conf", "10-flannel.conflist"]);
  }));

test("installCni() replaces a plugin that differs in one byte or in its mode, while the old one stays open", () =>
  withNode(({ path, install }) => {
    install();
    for (
      const spoil of [
        () => fs.chmodSync(path("bin/flannel"), 0o644),
        () => fs.writeFileSync(path("bin/flannel"), changed(path("agent"))),
      ]
    ) {
      spoil();
      const running = fs.openSync(path("bin/flannel"), "r");
      const old = fs.fstatSync(running).ino;
      install();
      assert.notEqual(fs.statSync(path("bin/flannel")).ino, old);
      assert.equal(fs.fstatSync(running).nlink, 0);
      fs.closeSync(running);
      assert.deepEqual(fs.readFileSync(path("bin/flannel")), fs.readFileSync(path("agent")));
      assert.equal(fs.statSync(path("bin/flannel")).mode & 0o777, 0o755);
    }
  }));

function changed(file: string): Buffer {
  const bytes = fs.readFileSync(file);
  bytes[bytes.length - 1] = 0;
  return bytes;
}

test("installCni() puts a file in place of a link, and not into what it points to", () =>
  withNode(({ path, install }) => {
    fs.writeFileSync(path("elsewhere"), "theirs");
    fs.symlinkSync(path("elsewhere"), path("bin/flannel"));
    install();
    assert.equal(fs.readFileSync(path("elsewhere"), "utf8"), "theirs");
    assert.ok(fs.lstatSync(path("bin/flannel")).isFile());
  }));

test("installCni() brings a configuration where there is no ConfigMap", () =>
  withNode(({ path }) => {
    installCni({ conf: null, confDir: path("etc"), binDir: path("bin"), executable: path("agent") }, () => {});
    const conf = JSON.parse(fs.readFileSync(path("etc/10-flannel.conflist"), "utf8"));
    assert.deepEqual([conf.name, conf.plugins.map((plugin: { type: string }) => plugin.type)], ["cbr0", ["flannel", "portmap"]]);
    assert.equal(fs.statSync(path("etc/10-flannel.conflist")).mode & 0o777, 0o644);
  }));

test("installCni() installs nothing if the configuration is broken or not there", () =>
  withNode(({ path, install }) => {
    fs.writeFileSync(path("cni-conf.json"), CONF.slice(0, 20));
    assert.throws(install, /Cannot install ".*cni-conf\.json": it is not JSON/);
    fs.writeFileSync(path("cni-conf.json"), "[]");
    assert.throws(install, /it is not a JSON object/);
    fs.rmSync(path("cni-conf.json"));
    assert.throws(install, /Cannot read ".*cni-conf\.json": ENOENT/);
    assert.deepEqual([fs.readdirSync(path("bin")), fs.existsSync(path("etc"))], [[], false]);
  }));

test("installConf() copies a file with its mode, as install-conf does", () =>
  withNode(({ path, said }) => {
    fs.chmodSync(path("cni-conf.json"), 0o640);
    for (let i = 0; i < 2; i++) installConf(path("cni-conf.json"), path("10-flannel.conflist"), (line) => said.push(line));
    assert.equal(fs.readFileSync(path("10-flannel.conflist"), "utf8"), CONF);
    assert.equal(fs.statSync(path("10-flannel.conflist")).mode & 0o777, 0o640);
    assert.deepEqual(said, [`installed ${path("10-flannel.conflist")}`, `${path("10-flannel.conflist")} is up to date`]);
  }));

test("installConf() keeps the old configuration if the new one is broken or can not be put there", () =>
  withNode(({ dir, path }) => {
    const install = (target: string) => installConf(path("cni-conf.json"), target, () => {});
    install(path("10-flannel.conflist"));
    fs.writeFileSync(path("cni-conf.json"), "{");
    assert.throws(() => install(path("10-flannel.conflist")), /it is not JSON/);
    assert.equal(fs.readFileSync(path("10-flannel.conflist"), "utf8"), CONF);
    install(path("any.txt"));
    assert.throws(() => install(path("bin")), /Cannot install ".*bin": E/);
    assert.deepEqual(fs.readdirSync(dir).filter((name) => name.endsWith(".tmp")), []);
  }));
