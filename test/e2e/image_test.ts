/**
 * The image of the Containerfile: what is in it and what is not, and that it runs with what a manifest gives it.
 *
 * Its layers are unpacked and entered with chroot, in the lab's namespaces.
 *
 * @module
 */

import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { before, describe, test } from "node:test";
import { ROOT } from "../../scripts/needs.mjs";
import { attempt, type Outcome, run, type RunOptions } from "../lab/command.ts";
import { insideLab } from "../lab/enter.ts";
import { IMAGE, imageLack } from "./cluster.ts";

const skip = insideLab() ? imageLack() : "needs the lab: bun test/lab/run.ts FILE";
const AGENT = join(ROOT, "dist/agent");
const VERSION = (JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { version: string }).version;
/** What all else may take beside the binary. */
const REST = 12e6;

interface Config {
  readonly config: {
    readonly User?: string;
    readonly Env: readonly string[];
    readonly Entrypoint: readonly string[];
    readonly Cmd?: readonly string[] | null;
    readonly Labels: Readonly<Record<string, string>>;
    readonly Healthcheck?: unknown;
  };
}

describe("the image", { skip }, () => {
  let root: string;
  let layers: string[];
  let image: Config["config"];

  before(async () => {
    if (skip) return;
    const folder = mkdtempSync(join(tmpdir(), "weft-image-"));
    root = join(folder, "root");
    mkdirSync(root);
    await run(["tar", "-xf", IMAGE, "-C", folder]);
    const read = <T>(name: string) => JSON.parse(readFileSync(join(folder, name), "utf8")) as T;
    const [manifest] = read<{ Config: string; Layers: string[] }[]>("manifest.json");
    image = read<Config>(manifest!.Config).config;
    layers = manifest!.Layers.map((layer) => join(folder, layer));
    for (const layer of layers) await run(["tar", "--xattrs", "--xattrs-include=*", "-xf", layer, "-C", root]);
    for (const name of ["proc", "dev"]) mkdirSync(join(root, name)); // a runtime mounts these
    await run(["mount", "-t", "proc", "proc", join(root, "proc")]);
    await run(["mount", "--rbind", "/dev", join(root, "dev")]);
  });

  /** Runs a program of the image with no capabilities but these, and a network of its own. */
  async function inside(argv: readonly string[], capabilities: readonly string[] = [], options: RunOptions = {}): Promise<Outcome> {
    const bounds = ["-all", "+sys_chroot", ...capabilities.map((name) => `+${name}`)].join(",");
    const path = `PATH=${image.Env.find((it) => it.startsWith("PATH="))!.slice("PATH=".length)}`;
    const enter = ["unshare", "--net", "--", "setpriv", `--bounding-set=${bounds}`, "--no-new-privs", "--"];
    return await attempt([...enter, "env", "-i", path, ...variables(options.env), "chroot", root, ...argv], {
      input: options.input ?? "",
    });
  }

  /** As {@linkcode inside}, for what has to succeed; what it prints. */
  async function output(argv: readonly string[], capabilities?: readonly string[], options?: RunOptions): Promise<string> {
    const { code, stdout, stderr } = await inside(argv, capabilities, options);
    assert.equal(code, 0, `${argv.join(" ")}: ${stdout}${stderr}`);
    return stdout;
  }

  test("starts the agent as uid 0, says what it is, and leaves health to Kubernetes", () => {
    const { User, Entrypoint, Cmd, Labels, Healthcheck, Env } = image;
    assert.deepEqual([User, Entrypoint, Cmd ?? []], ["0:0", ["/opt/bin/agent"], []]);
    assert.deepEqual([Healthcheck, Env.filter((it) => /^BUN_(BE_BUN|OPTIONS)=/.test(it))], [undefined, []]);
    const named = (name: string) => Labels[`org.opencontainers.image.${name}`];
    assert.deepEqual([named("title"), named("version"), named("licenses")], ["weft", VERSION, "Apache-2.0"]);
    assert(named("description"));
  });

  test("holds the binary and little else: no package manager, no setuid file, no file capabilities", async () => {
    const size = layers.reduce((sum, layer) => sum + statSync(layer).size, 0);
    assert(size < statSync(AGENT).size + REST, `${size} bytes`);
    const find = (...args: readonly string[]) => run(["find", root, "-xdev", ...args]);
    assert.equal(await find("(", "-name", "apt*", "-o", "-name", "dpkg*", ")", "-size", "+0", "-type", "f"), "");
    assert.equal(await find("-perm", "/6000"), "");
    assert.equal(await find("!", "-user", "0"), "");
    for (const layer of layers) {
      const list = await run(["tar", "--xattrs", "--xattrs-include=*", "-tvf", layer]);
      assert.deepEqual(list.split("\n").filter((line) => /^\S{10}[*+]/.test(line)), []);
    }
  });

  test("the agent runs under every name by which manifests call it", async () => {
    assert.equal(await output(["/opt/bin/agent", "version"]), `agent ${VERSION}\n`);
    assert.match(await output(["/opt/bin/flanneld", "--version"]), new RegExp(VERSION.replaceAll(".", "\\.")));
    const answer = await output(["/flannel"], [], { env: { CNI_COMMAND: "VERSION" }, input: '{"cniVersion":"1.0.0"}' });
    assert((JSON.parse(answer) as { supportedVersions: string[] }).supportedVersions.includes("1.0.0"));
  });

  test("the init containers of flannel's manifests find what they call", async () => {
    writeFileSync(join(root, "tmp/conf"), '{"name":"cbr0"}');
    await output(["cp", "-f", "/tmp/conf", "/tmp/10-flannel.conflist"]);
    await output(["/opt/bin/install-conf", "/tmp/conf", "/tmp/11-flannel.conflist"]);
    for (const name of ["10", "11"]) {
      assert.equal(readFileSync(join(root, `tmp/${name}-flannel.conflist`), "utf8"), '{"name":"cbr0"}');
    }
    await output(["cp", "-f", "/flannel", "/tmp/flannel"]);
    await run(["cmp", AGENT, join(root, "tmp/flannel")]);
    await output(["/opt/bin/agent", "install-cni", "--cni-conf=/tmp/conf", "--cni-conf-dir=/tmp/net.d", "--cni-bin-dir=/tmp/bin"]);
    await run(["cmp", AGENT, join(root, "tmp/bin/flannel")]);
  });

  test("nft and the new iptables work with NET_ADMIN alone", async () => {
    assert.equal(await output(["nft", "list", "ruleset"], ["net_admin"]), "");
    for (const name of ["iptables-nft", "ip6tables-nft", "iptables"]) {
      await output([name, "-t", "nat", "-A", "POSTROUTING", "-m", "comment", "--comment", "x", "-j", "MASQUERADE"], ["net_admin"]);
    }
  });

  test("the old iptables is there too, and needs NET_RAW as well, as the manifest says", async () => {
    const list = ["iptables-legacy", "-t", "filter", "-S"];
    assert.notEqual((await inside(list, ["net_admin"])).code, 0);
    assert.match(await output(list, ["net_admin", "net_raw"]), /-P FORWARD/);
  });

  test("libnl is the image's own", async () => {
    assert.match(await run(["find", root, "-name", "libnl-3.so.200"]), /libnl-3\.so\.200/);
  });

  test("the backends that are not built in lie where the agent looks for them", async () => {
    const file = (name: string) => `etc/weft/backends/${name}.ts`;
    for (const name of ["alloc", "extension", "ipip", "wireguard"]) {
      assert.equal(readFileSync(join(root, file(name)), "utf8"), readFileSync(join(ROOT, `backends/${name}.ts`), "utf8"));
    }
    assert.match(await output(["/opt/bin/agent", "plugin", "check", `/${file("alloc")}`]), / 0 failed/);
  });
});

function variables(env: Readonly<Record<string, string>> = {}): string[] {
  return Object.entries(env).map(([name, value]) => `${name}=${value}`);
}
