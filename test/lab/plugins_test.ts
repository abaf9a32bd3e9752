/**
 * Backends that are not built in and are broken: what is said of them, and that they harm only themselves.
 *
 * @module
 */

import assert from "node:assert/strict";
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { distrust } from "../../src/plugins/trust.ts";
import { labTest } from "./case.ts";
import { Cli, complaints } from "./cli.ts";
import { Cluster, subnetOf } from "./cluster.ts";
import { run, until } from "./command.ts";
import { Lab } from "./lab.ts";
import { byGateway, pluginFolder } from "./plugins.ts";

const ONE_SEGMENT = { segments: { A: ["a1", "a2"] } };

/** A broken plugin that the agent refuses to start with, and what it says. */
const REFUSED: Readonly<Record<string, readonly [text: string, says: RegExp]>> = {
  "syntax-error": ["export default {\n  name: ;\n};\n", /"[^"]*syntax-error\.ts": .*(Unexpected|unexpected|Expression)/],
  "wrong-version": [
    byGateway("wrong-version", { api: "2" }),
    /it is written for version 2 of the backend interface, and this agent speaks version 1$/,
  ],
  "throws-at-load": ['throw new Error("no licence");\n', /"[^"]*throws-at-load\.ts": no licence$/],
  "never-loads": [
    "while (true);\n",
    /it did not answer within 5 s: a module must end when it is loaded, and do nothing but export$/,
  ],
  "no-schema": [
    byGateway("no-schema", { options: "{ Type: String }" }),
    /its options is a object: expected a function or a Standard Schema$/,
  ],
  "other-name": [byGateway("another"), /it is called "another", but its file says "other-name": they must agree$/],
  "missing-module": [
    `import x from "left-pad";\n${byGateway("missing-module")}`,
    /it imports "left-pad": only modules of the runtime/,
  ],
  "wrong-options": [
    byGateway("wrong-options", { options: '() => { throw new Error("Port is missing"); }' }),
    /^agent: The Backend in "?[^ ]*net-conf\.json"? is wrong for wrong-options: Port is missing$/,
  ],
};

labTest("a plugin that can not be used ends the agent at its start, with one line that says what to mend", async () => {
  await using lab = await Lab.create({ segments: { A: ["a1"] } });
  const cli = new Cli(lab, lab.node("a1"));
  const files = Object.fromEntries(Object.entries(REFUSED).map(([name, [text]]) => [`${name}.ts`, text]));
  const folder = pluginFolder("/run/broken", {
    ...files,
    "twice.ts": byGateway("twice"),
    "twice.js": "",
    "open.ts": byGateway("open"),
  });
  chmodSync(join(folder, "open.ts"), 0o666);
  const cases = {
    ...Object.fromEntries(Object.entries(REFUSED).map(([name, [, says]]) => [name, says])),
    twice: /There is more than one file for the backend "twice": ".*twice\.js" and ".*twice\.ts"; remove all but one$/,
    open: /"\/run\/broken\/open\.ts" may be written by others than root \(mode 0666\); run: chmod go-w "\/run\/broken\/open\.ts"$/,
  };
  for (const [name, says] of Object.entries(cases)) {
    const { code, stderr } = await cli.node.attempt([...cli.command, ...cli.flags, `--plugin-dir=${folder}`, `--backend=${name}`], {
      timeout: 20_000,
    });
    const lines = complaints(stderr);
    assert.deepEqual([code, lines.length], [1, 1], `${name}: ${stderr}`);
    assert.match(lines[0]!, says);
  }
  const { code, stderr } = await cli.run([...cli.flags, `--plugin-dir=${folder}`, "--backend=nowhere"]);
  assert.equal(code, 2);
  assert.match(stderr, /expected vxlan, host-gw, directrouting or the name of a file in "\/run\/broken"/);
});

labTest("a file with the name of a built-in backend is not used, and the log says so", async () => {
  await using lab = await Lab.create({ segments: { A: ["a1"] } });
  const node = lab.node("a1");
  const folder = pluginFolder("/run/clash", { "host-gw.ts": 'throw new Error("it was loaded");\n' });
  const agent = node.agent({ backend: "host-gw", args: [`--plugin-dir=${folder}`] });
  await agent.ready();
  assert.match(agent.log(), /"\/run\/clash\/host-gw\.ts" is not used: a backend of this name is built in/);
});

labTest("a plugin that has nothing to say of the node leaves the agent waiting, with its words", async () => {
  await using lab = await Lab.create({ segments: { A: ["a1"] } });
  const speechless: Readonly<Record<string, readonly [odd: Readonly<Record<string, string>>, says: string]>> = {
    "no-node": [{ node: '() => { throw new Error("I have no idea"); }' }, "its node() failed: I have no idea"],
    "no-mtu": [{ mtu: "() => 7" }, "mtu() answers what is no such thing: Invalid value: Expected >=68 but received 7"],
    "no-publish": [{ publish: "() => () => {}" }, "its publish() failed: "],
  };
  const files = Object.entries(speechless).map(([name, [odd]]) => [`${name}.ts`, byGateway(name, odd)]);
  const folder = pluginFolder("/run/speechless", Object.fromEntries(files));
  for (const [backend, [, says]] of Object.entries(speechless)) {
    const agent = lab.node("a1").agent({ backend, args: [`--plugin-dir=${folder}`] });
    await agent.until("says what is wrong", async () => {
      const { ready, reason, problems } = await agent.status();
      if (!ready && problems.some(({ why }) => why.startsWith(says)) && reason!.includes(says)) return true;
      throw new Error(JSON.stringify({ ready, reason, problems }));
    });
    assert.equal(await agent.stop(), 0);
  }
});

/** A plugin that does what a file beside it says, whenever it is asked about a peer. */
const MOODY = `
import { readFileSync } from "node:fs";
const mood = () => readFileSync("/run/moody/mood", "utf8").trim();
${
  byGateway("moody", {
    peer: `(peer: any, side: any) => {
    const now = mood();
    if (now === "throw") throw new Error("I do not like it");
    if (now === "hang") while (true);
    const via = now === "foreign" ? { dst: "203.0.113.0/24" } : {};
    const route = { kind: "route", dst: peer.subnet, to: { via: peer.publicIp, link: side.link, onlink: false }, src: null, ...via };
    return now === "nonsense" ? 42 : now === "promise" ? Promise.resolve({ path: "moody", items: [route] }) : { path: "moody", items: [route] };
  }`,
  })
}`;

labTest("a plugin that throws, lies or hangs while the agent runs harms only peers that are new, and is named", async () => {
  const folder = pluginFolder("/run/moody", { "moody.ts": MOODY, mood: "good" });
  await using cluster = await Cluster.create(ONE_SEGMENT, { backend: "moody", args: [`--plugin-dir=${folder}`] });
  const [{ node, agent, pod }, other] = [cluster.on("a1"), cluster.on("a2")];
  const cli = new Cli(cluster.lab, node);
  const planned = await cli.said("plan", ...cli.flags, "--backend=moody", `--plugin-dir=${folder}`);
  assert.equal(planned, "Nothing to change: the kernel holds what is planned.\n");
  await using pinger = await pod.pinger(other.pod.address);
  const expected = {
    throw: /^backend moody failed for it: I do not like it$/,
    nonsense: /^backend moody failed for it: peer\(\) answers what is no such thing: /,
    promise: /^backend moody failed for it: peer\(\) answers what is no such thing: .*at once$/,
    foreign:
      /^backend moody failed for it: peer\(\) answers what it may not: route 203\.0\.113\.0\/24: .* may lead to 10\.244\.203\.0\/24 only$/,
  };
  for (const [i, [mood, reason]] of Object.entries(expected).entries()) {
    writeFileSync(join(folder, "mood"), mood);
    putLease(cluster.lab, 200 + i);
    await agent.until(`says why it does not reach the new peer (${mood})`, async () => {
      const peers = await agent.peers();
      const peer = peers.find(({ subnet }) => subnet === `10.244.${200 + i}.0/24`);
      if (peer?.state === "pending" && reason.test(peer.reason!)) return true;
      throw new Error(JSON.stringify(peers));
    });
    assert.equal((await agent.peers()).filter(({ state }) => state === "in-sync").length, 1);
  }
  assert.deepEqual((await agent.status()).ready, true);

  writeFileSync(join(folder, "mood"), "hang");
  putLease(cluster.lab, 210);
  const { problems } = await agent.until("says that the plugin hangs", async () => {
    const status = await agent.status();
    return status.problems.length > 0 && status;
  }, 20_000);
  assert.deepEqual([problems[0]!.what, problems[0]!.why], [
    "The backend moody does not work as it should",
    "it did not answer within 5 s",
  ]);
  assert.deepEqual((await pinger.stop()).lost, 0);
  await node.ip(`route del ${subnetOf(other)}`);
  await until(
    "what the plugin said last is kept in place",
    async () => (await node.json(["ip", "-j", "route", "show", subnetOf(other)])).length === 1,
  );
  writeFileSync(join(folder, "mood"), "good");
  await agent.until("reaches the peer that the plugin had hung at", async () => {
    const peer = (await agent.peers()).find(({ subnet }) => subnet === "10.244.210.0/24");
    return peer?.state === "in-sync" && (await agent.status()).problems.length === 0;
  }, 30_000);
});

/** Writes a lease of another node, which does not exist, into the embedded store. */
function putLease({ leaseDb }: Lab, n: number): void {
  const store = new DatabaseSync(leaseDb);
  try {
    store.exec("PRAGMA busy_timeout = 5000");
    const value = JSON.stringify({ PublicIP: `192.168.10.${n}`, BackendType: "moody", BackendData: null });
    store.prepare("INSERT INTO lease (key, value, node) VALUES (?, ?, ?)").run(`10.244.${n}.0-24`, value, `x${n}`);
  } finally {
    store.close();
  }
}

labTest("a folder as Kubernetes mounts ConfigMaps is trusted, being read-only; the same folder writable is not", async () => {
  const folder = "/run/configmap";
  mkdirSync(folder);
  await run(["mount", "-t", "tmpfs", "-o", "mode=1777", "tmpfs", folder]);
  mkdirSync(join(folder, "..2026_11_26"));
  chmodSync(join(folder, "..2026_11_26"), 0o777);
  writeFileSync(join(folder, "..2026_11_26/mine.ts"), byGateway("mine"));
  symlinkSync("..2026_11_26", join(folder, "..data"));
  symlinkSync("..data/mine.ts", join(folder, "mine.ts"));
  assert.match(distrust(join(folder, "mine.ts"))!, /"\/run\/configmap" may be written by others than root \(mode 1777\)/);
  await run(["mount", "-o", "remount,bind,ro", folder]);
  assert.equal(distrust(join(folder, "mine.ts")), null);
  await run(["umount", folder]);
});
