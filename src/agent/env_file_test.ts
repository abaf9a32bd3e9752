import { test } from "node:test";
import assert from "node:assert/strict";
import { FakeFile } from "../../test/fake_node.ts";
import { parseCidr } from "../model/ip.ts";
import { EnvFile } from "./env_file.ts";

const env = (third: number) => ({
  networks: [parseCidr("10.244.0.0/16")],
  subnets: [parseCidr(`10.244.${third}.0/24`)],
  mtu: 1450,
  ipMasq: false,
});

function keeper(text: string | null) {
  const file = new FakeFile();
  file.text = text;
  const log: string[] = [];
  return { file, log, keeper: new EnvFile(file, "/run/flannel/subnet.env", (level, message) => log.push(`${level} ${message}`)) };
}

const TEXT = "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n";

test("EnvFile tells what the last run left, and writes nothing that stands there already", async () => {
  const { file, keeper: it } = keeper(TEXT);
  assert.deepEqual(await it.read(), {
    subnets: ["10.244.1.0/24"],
    networks: [{ network: "10.244.0.0/16", subnet: "10.244.1.0/24", length: 24 }],
  });
  assert.match(it.problem!, /has not been written yet/);
  assert.equal(await it.write(env(1)), true);
  assert.deepEqual([it.problem, file.written.length], [null, 0]);
  await it.write(env(2));
  assert.deepEqual(file.written, [TEXT.replace("1.1/", "2.1/")]);
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
  assert.equal(await it.write(env(2)), false);
  assert.deepEqual([it.problem, log], ["EIO", ["error EIO"]]);
  file.fails = null;
  assert.equal(await it.write(env(1)), true);
  assert.deepEqual([it.problem, file.written], [null, [TEXT]]);
});
