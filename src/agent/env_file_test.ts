import { test } from "node:test";
import assert from "node:assert/strict";
import { FakeFile } from "../../test/fake_node.ts";
import { parseCidr, parseIp, parseMac } from "../model/ip.ts";
import { type Item, keyOf } from "../model/item.ts";
import { EnvFile } from "./env_file.ts";

const sides = (third: number) => [{
  network: parseCidr("10.244.0.0/16"),
  subnet: parseCidr(`10.244.${third}.0/24`),
  mtu: 1450,
}];
const SETTINGS = { subnetFile: "/run/flannel/subnet.env", ipMasq: false };
const HELD: ReadonlyMap<string, Item> = new Map();

function keeper(text: string | null) {
  const file = new FakeFile();
  file.text = text;
  const log: string[] = [];
  return { file, log, keeper: new EnvFile(file, SETTINGS, (level, message) => log.push(`${level} ${message}`)) };
}

const TEXT = "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n";

test("EnvFile tells what the last run left, and writes nothing that stands there already", async () => {
  const { file, keeper: it } = keeper(TEXT);
  assert.deepEqual(await it.read(), {
    subnets: ["10.244.1.0/24"],
    networks: [{ network: "10.244.0.0/16", subnet: "10.244.1.0/24", length: 24 }],
  });
  assert.match(it.problem!, /has not been written yet/);
  assert.equal(await it.keep(sides(1), [], HELD), true);
  assert.deepEqual([it.problem, file.written.length], [null, 0]);
  await it.keep(sides(2), [], HELD);
  assert.deepEqual(file.written, [TEXT.replace("1.1/", "2.1/")]);
});

test("EnvFile waits for what pods need, but for no reverse-path filter", async () => {
  const { file, keeper: it } = keeper(null);
  const entry: Item = { kind: "neighbour", link: "flannel.1", ip: parseIp("10.244.2.0"), mac: parseMac("02:00:00:00:00:02") };
  const other = { ...entry, mac: parseMac("02:00:00:00:00:03") };
  const needed: Item[] = [{ kind: "reverse-path", link: "eth0" }, entry];
  for (const observed of [HELD, new Map([[keyOf(entry), other]])]) {
    assert.equal(await it.keep(sides(1), needed, observed), true, "nothing to try again by itself");
    assert.match(it.problem!, /^subnet\.env waits for neighbour 10\.244\.2\.0/);
  }
  assert.deepEqual(file.written, []);
  await it.keep(sides(1), needed, new Map([[keyOf(entry), entry]]));
  assert.deepEqual([it.problem, file.written], [null, [TEXT]]);
});

test("EnvFile starts without a file, and takes from one that is broken what it can", async () => {
  assert.deepEqual(await keeper(null).keeper.read(), { subnets: [], networks: [] });
  const { keeper: it, log } = keeper("FLANNEL_SUBNET=10.244.1.1/24\nnonsense");
  assert.deepEqual(await it.read(), { subnets: ["10.244.1.0/24"], networks: [] });
  assert.match(log[0]!, /^warning The old \/run\/flannel\/subnet\.env is not used/);
});

test("EnvFile writes again after a write that failed, even what stood there before: it may be half written", async () => {
  const { file, log, keeper: it } = keeper(TEXT);
  await it.read();
  file.fails = "EIO";
  assert.equal(await it.keep(sides(2), [], HELD), false);
  assert.deepEqual([it.problem, log], ["EIO", ["error EIO"]]);
  file.fails = null;
  assert.equal(await it.keep(sides(1), [], HELD), true);
  assert.deepEqual([it.problem, file.written], [null, [TEXT]]);
});
