/**
 * What is in `deploy/`: fields that a real API server knows, no more rights than needed, and a unit that systemd takes.
 *
 * @module
 */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, before, describe, test } from "node:test";
import { load, loadAll } from "js-yaml";
import { IMAGE_NAME } from "../../scripts/image.mjs";
import { ROOT } from "../../scripts/needs.mjs";
import { parseCommand } from "../../src/config/command.ts";
import { parseNetConf } from "../../src/config/net_conf.ts";
import { attempt, run } from "../lab/command.ts";
import { ANY_ETCD, KUBE_APISERVER, kubernetesProgram, lackOf } from "./kubernetes_binaries.ts";
import { KubernetesServer } from "./kubernetes_server.ts";
import { rightsOf } from "./rights.ts";

const DEPLOY = join(ROOT, "deploy");
const MANIFEST = readFileSync(join(DEPLOY, "weft.yaml"), "utf8");
const KUBECTL = kubernetesProgram("kubectl");

// deno-lint-ignore no-explicit-any
type Json = any;
const OBJECTS = loadAll(MANIFEST) as Json[];
const named = (kind: string) => OBJECTS.find((it) => it.kind === kind);
const POD = named("DaemonSet").spec.template.spec;
const [AGENT] = POD.containers;

describe("deploy/weft.yaml", () => {
  test("gives the rights to follow nodes and to write down what this one does, and no others", () => {
    assert.deepEqual(rightsOf(MANIFEST), ["nodes/list", "nodes/status/patch", "nodes/watch"]);
  });

  test("runs agents with 100m and 50Mi, NET_ADMIN and a root file system that nobody writes to", () => {
    const size = { cpu: "100m", memory: "50Mi" };
    assert.deepEqual(AGENT.resources, { requests: size, limits: size });
    const { capabilities, ...rest } = AGENT.securityContext;
    assert.deepEqual(capabilities, { drop: ["ALL"], add: ["NET_ADMIN"] });
    assert.deepEqual(rest, { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true });
    const [init] = POD.initContainers;
    assert.deepEqual(init.securityContext, { ...rest, capabilities: { drop: ["ALL"] } });
    assert.deepEqual(init.resources.requests, size, "or the pod would ask for more than its agent takes");
  });

  test("is on every Linux node, and the last to go", () => {
    assert.deepEqual([POD.hostNetwork, POD.priorityClassName], [true, "system-node-critical"]);
    assert.deepEqual([POD.nodeSelector, POD.tolerations], [{ "kubernetes.io/os": "linux" }, [{ operator: "Exists" }]]);
  });

  test("calls the agent with flags that it knows, and asks for health where it is served", () => {
    const [program, ...args] = [...AGENT.command, ...AGENT.args] as string[];
    const env = Object.fromEntries(AGENT.env.map((it: Json) => [it.name, "node-1"]));
    const command = parseCommand(program!, args, env) as Json;
    assert.equal(command.name, "agent");
    const { healthz, nodeName } = command.settings;
    for (const probe of [AGENT.startupProbe, AGENT.livenessProbe, AGENT.readinessProbe]) {
      assert.deepEqual([probe.httpGet.host, probe.httpGet.port], [healthz.ip, healthz.port]);
    }
    assert.equal(nodeName, "node-1");
  });

  test("holds a configuration of the network and of CNI, where the agent looks for them", () => {
    const { data } = named("ConfigMap");
    assert.equal(parseNetConf(data["net-conf.json"], { source: "net-conf.json", allocates: false }).network.ranges.length, 1);
    const list = JSON.parse(data["cni-conf.json"]);
    assert.deepEqual([list.cniVersion, list.plugins.map((it: Json) => it.type)], ["0.3.1", ["flannel", "portmap"]]);
  });

  test("mounts nothing twice and nothing that is not there", () => {
    const volumes = POD.volumes.map((it: Json) => it.name);
    for (const { volumeMounts } of [...POD.containers, ...POD.initContainers]) {
      const paths = volumeMounts.map((it: Json) => it.mountPath);
      assert.equal(new Set(paths).size, paths.length);
      assert.deepEqual(volumeMounts.map((it: Json) => it.name).filter((name: string) => !volumes.includes(name)), []);
    }
  });

  test("names the image that the Containerfile is built as", () => {
    const images = [...POD.containers, ...POD.initContainers].map((it: Json) => it.image);
    assert.deepEqual([...new Set(images)], [IMAGE_NAME]);
  });
});

describe("deploy/kustomization.yaml", { skip: lackOf(KUBECTL) }, () => {
  test("is weft.yaml, with the image that one sets", async () => {
    const kubectl = (KUBECTL as { path: string }).path;
    const byName = (objects: Json[]) => Object.fromEntries(objects.map((it) => [`${it.kind} ${it.metadata.name}`, it]));
    const built = (folder: string) => run([kubectl, "kustomize", folder]);
    assert.deepEqual(byName(loadAll(await built(DEPLOY)) as Json[]), byName(OBJECTS));
    const folder = mkdtempSync(join(tmpdir(), "weft-kustomize-"));
    const kustomization = load(readFileSync(join(DEPLOY, "kustomization.yaml"), "utf8")) as Json;
    kustomization.images[0].newName = "registry.example/weft";
    writeFileSync(join(folder, "kustomization.yaml"), JSON.stringify(kustomization));
    writeFileSync(join(folder, "weft.yaml"), MANIFEST);
    const text = await built(folder);
    assert.deepEqual([text.split("image: registry.example/weft:").length, text.includes(IMAGE_NAME)], [3, false]);
  });
});

describe("a real API server and deploy/", { skip: lackOf(KUBE_APISERVER, ANY_ETCD, KUBECTL) }, () => {
  let server: KubernetesServer;
  before(async () => {
    if (!lackOf(KUBE_APISERVER, ANY_ETCD, KUBECTL)) server = await KubernetesServer.start();
  });
  after(() => server?.[Symbol.asyncDispose]());

  const apply = (...args: readonly string[]) =>
    attempt([(KUBECTL as { path: string }).path, `--kubeconfig=${server.kubeconfig}`, "apply", "--validate=strict", ...args]);

  test("know each other's fields", async () => {
    const { code, stderr } = await apply("-k", DEPLOY);
    assert.deepEqual([code, stderr], [0, ""]);
    const { status } = await server.ask("GET", "/apis/apps/v1/namespaces/kube-weft/daemonsets/weft");
    assert.equal(status, 200);
  });

  test("would not agree on a field that is misspelt", async () => {
    const file = join(mkdtempSync(join(tmpdir(), "weft-manifest-")), "weft.yaml");
    writeFileSync(file, MANIFEST.replace("hostNetwork:", "hostNetwrk:"));
    const { code, stderr } = await apply("-f", file);
    assert.equal(code, 1);
    assert.match(stderr, /unknown field "spec\.template\.spec\.hostNetwrk"/);
  });
});

describe("deploy/weft.service", { skip: analyze("--version").error ? "needs systemd-analyze (package systemd)" : false }, () => {
  test("is a unit that systemd takes without a warning, and not exposed to much", () => {
    const folder = mkdtempSync(join(tmpdir(), "weft-unit-"));
    const text = readFileSync(join(DEPLOY, "weft.service"), "utf8").replaceAll("/usr/local/bin/agent", process.execPath);
    const unit = join(folder, "weft.service");
    mkdirSync(join(folder, "empty"));
    writeFileSync(unit, text);
    const verified = analyze("verify", "--recursive-errors=no", "--man=no", unit);
    assert.deepEqual([verified.status, verified.stderr], [0, ""]);
    const { status, stdout } = analyze("security", "--offline=yes", "--threshold=25", unit);
    assert.equal(status, 0, stdout);
  });

  test("takes from a Bun binary what would make it run foreign code", () => {
    const text = readFileSync(join(DEPLOY, "weft.service"), "utf8");
    assert.match(text, /^UnsetEnvironment=.*\bBUN_BE_BUN\b.*\bBUN_OPTIONS\b/m);
    assert.match(text, /^Type=notify$/m);
  });
});

function analyze(...args: readonly string[]) {
  return spawnSync("systemd-analyze", args, { encoding: "utf8" });
}
