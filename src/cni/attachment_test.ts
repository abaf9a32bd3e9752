import assert from "node:assert/strict";
import * as fs from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { type Answer, type Bed, RESULT, SUBNET_ENV, withBed } from "./testing.ts";

test("ADD passes the delegate's result on and keeps what it was called with; DEL gives it the same and forgets it", () =>
  withBed(async (bed) => {
    const added = await bed.run("ADD", { delegate: { hairpinMode: true } });
    assert.deepEqual([added.code, added.stdout], [0, RESULT]);
    assert.deepEqual(bed.files(), ["c1", "c1:eth0"]);
    assert.deepEqual(JSON.parse(fs.readFileSync(join(bed.state, "c1"), "utf8")), bed.calls[0]!.conf);
    bed.subnet(null);
    assert.deepEqual(await bed.run("DEL", {}, { CNI_NETNS: "" }), { code: 0, stdout: "", json: null });
    assert.deepEqual(bed.commands(), ["ADD", "DEL"]);
    assert.deepEqual(bed.calls[1]!.conf, bed.calls[0]!.conf);
    assert.deepEqual(bed.files(), []);
    assert.equal((await bed.run("DEL")).code, 0);
    assert.equal(bed.calls.length, 2);
  }));

test("ADD gives the delegate the environment as it is", () =>
  withBed(async (bed) => {
    await bed.run("ADD");
    const { CNI_PATH: _, ...env } = bed.calls[0]!.env;
    assert.deepEqual(env, {
      CNI_COMMAND: "ADD",
      CNI_CONTAINERID: "c1",
      CNI_NETNS: "/run/netns/c1",
      CNI_IFNAME: "eth0",
      OTHER: "kept",
    });
  }));

test("ADD names the configuration's version in a result that names none", () =>
  withBed(async (bed) => {
    bed.answers["ADD"] = [{ stdout: '{"ips":[]}' }, { stdout: '{"cniVersion":"","ip4":{}}' }];
    assert.deepEqual((await bed.run("ADD")).json, { ips: [], cniVersion: "1.0.0" });
    assert.deepEqual((await bed.run("ADD", { cniVersion: "" })).json, { ip4: {}, cniVersion: "0.1.0" });
  }));

const FAILURES: readonly (readonly [string, Answer, object])[] = [
  ["fails with an error object", { code: 1, stdout: '{"code":100,"msg":"no","x":1}' }, { code: 100, msg: "no", x: 1 }],
  ["fails with text", { code: 2, stdout: "", stderr: "broken\n" }, { code: 100, details: 'it said "broken"' }],
  ["fails with half an error object", { code: 1, stdout: '{"code":"1"}' }, { code: 100 }],
  ["is killed", { code: null }, { code: 100 }],
  ["prints nothing", { stdout: "" }, { code: 6 }],
  ["prints no JSON", { stdout: "hello" }, { code: 6, details: 'it said "hello"' }],
  ["prints null", { stdout: "null" }, { code: 6 }],
  ["prints too much", { code: null, exceeded: "output" }, { code: 6 }],
  ["hangs", { code: null, exceeded: "time" }, { code: 11 }],
];

for (const [what, answer, expected] of FAILURES) {
  test(`ADD with a delegate that ${what} is undone and leaves nothing`, () =>
    withBed(async (bed) => {
      bed.answers["ADD"] = [answer];
      const { code, json } = await bed.run("ADD");
      assert.equal(code, 1);
      assert.deepEqual({ ...json, ...expected }, json);
      assert.equal(json.cniVersion, "1.0.0");
      assert.deepEqual(bed.commands(), ["ADD", "DEL"]);
      assert.deepEqual(bed.files(), []);
    }));

  test(`DEL with a delegate that ${what} ${"stdout" in answer && answer.code === undefined ? "succeeds" : "keeps the state"}`, () =>
    withBed(async (bed) => {
      await bed.run("ADD");
      bed.answers["DEL"] = [answer];
      const { code, json } = await bed.run("DEL");
      if ("stdout" in answer && answer.code === undefined) assert.equal(code, 0);
      else {
        assert.deepEqual([code, { ...json, ...expected }], [1, json]);
        assert.deepEqual(bed.files(), ["c1", "c1:eth0"]);
        assert.equal((await bed.run("DEL")).code, 0);
      }
      assert.deepEqual(bed.files(), []);
    }));
}

test("ADD tells the first failure if undoing fails too, and keeps the state for DEL", () =>
  withBed(async (bed) => {
    bed.answers = {
      ADD: [{ code: 1, stdout: '{"code":7,"msg":"first"}' }],
      DEL: [{ code: 1, stdout: '{"code":7,"msg":"second"}' }],
    };
    assert.equal((await bed.run("ADD")).json.msg, "first");
    assert.match(bed.stderr, /Cannot undo the failed ADD, DEL has to: second/);
    assert.equal((await bed.run("DEL")).code, 0);
    assert.deepEqual(bed.commands(), ["ADD", "DEL", "DEL"]);
    assert.deepEqual(bed.files(), []);
  }));

test("a second ADD that fails takes nothing from the first", () =>
  withBed(async (bed) => {
    await bed.run("ADD");
    bed.answers["ADD"] = [{ code: 1, stdout: '{"code":7,"msg":"eth0 exists"}' }];
    assert.equal((await bed.run("ADD", { delegate: { mtu: 1 } })).code, 1);
    assert.deepEqual(bed.commands(), ["ADD", "ADD"]);
    assert.equal(JSON.parse(fs.readFileSync(join(bed.state, "c1:eth0"), "utf8")).mtu, 1472);
  }));

test("ADD waits for an executable that is just being written", () =>
  withBed(async (bed) => {
    bed.answers["ADD"] = [Object.assign(new Error("ETXTBSY"), { code: "ETXTBSY" })];
    assert.equal((await bed.run("ADD")).code, 0);
    assert.deepEqual(bed.commands(), ["ADD", "ADD"]);
  }));

for (
  const [what, change, conf, code, message] of [
    ["subnet.env is missing", (bed: Bed) => bed.subnet(null), {}, 11, /Cannot read the subnet file ".*subnet.env": ENOENT/],
    [
      "subnet.env is half written",
      (bed: Bed) => bed.subnet(SUBNET_ENV.slice(0, 40)),
      {},
      11,
      /missing .*FLANNEL_MTU, FLANNEL_IPMASQ/,
    ],
    ["subnet.env lacks its end", (bed: Bed) => bed.subnet(SUBNET_ENV.slice(0, -3)), {}, 11, /is half written/],
    [
      "subnet.env is empty",
      (bed: Bed) => bed.subnet(""),
      {},
      11,
      /FLANNEL_NETWORK, FLANNEL_IPV6_NETWORK, FLANNEL_SUBNET, FLANNEL_IPV6_/,
    ],
    ["a line of subnet.env has no value", (bed: Bed) => bed.subnet("FLANNEL_MTU\n"), {}, 11, /FLANNEL_MTU has no value/],
    ["the delegate is missing", () => {}, { delegate: { type: "absent" } }, 7, /Cannot find plugin "absent" in CNI_PATH/],
    ["the delegate's name is a path", () => {}, { delegate: { type: "../bin/bridge" } }, 7, /is not the name of a plugin/],
    ["the delegate's name is empty", () => {}, { delegate: { type: "" } }, 7, /is not the name of a plugin/],
    [
      "the delegate is a folder",
      (bed: Bed) => fs.mkdirSync(join(bed.dir, "bin/x")),
      { delegate: { type: "x" } },
      7,
      /Cannot find plugin/,
    ],
    ["the version is unknown", () => {}, { cniVersion: "9.0.0" }, 1, /"9\.0\.0" is not supported/],
    ["the state can not be kept", (bed: Bed) => fs.writeFileSync(bed.state, ""), {}, 5, /Cannot (read|write) the state/],
  ] as const
) {
  test(`ADD fails and calls nobody if ${what}`, () =>
    withBed(async (bed) => {
      change(bed);
      const answer = await bed.run("ADD", conf);
      assert.deepEqual([answer.code, answer.json.code], [1, code]);
      assert.match(answer.json.msg, message);
      assert.deepEqual(bed.calls, []);
      if (fs.existsSync(bed.state) && fs.statSync(bed.state).isDirectory()) assert.deepEqual(bed.files(), []);
    }));
}

test("ADD with a delegate that can not be started leaves nothing, and there is nothing to undo", () =>
  withBed(async (bed) => {
    bed.answers["ADD"] = [new Error("EACCES")];
    const { json } = await bed.run("ADD");
    assert.equal(json.code, 5);
    assert.match(json.msg, /ADD: cannot start ".*bridge": EACCES/);
    assert.deepEqual([bed.commands(), bed.files()], [["ADD"], []]);
  }));

test("DEL leaves a file of flannel's plugin that is about another network", () =>
  withBed(async (bed) => {
    fs.mkdirSync(bed.state);
    fs.writeFileSync(join(bed.state, "c1"), '{"name":"other","type":"bridge"}');
    assert.equal((await bed.run("DEL", {}, { CNI_IFNAME: "net1" })).code, 0);
    assert.equal((await bed.run("CHECK", { prevResult: {} })).json.code, 3);
    assert.deepEqual([bed.calls, bed.files()], [[], ["c1"]]);
    assert.equal((await bed.run("DEL", { name: "other" })).code, 0);
    assert.deepEqual([bed.commands(), bed.files()], [["DEL"], []]);
  }));

test("DEL uses and removes the file of flannel's plugin", () =>
  withBed(async (bed) => {
    fs.mkdirSync(bed.state);
    fs.writeFileSync(join(bed.state, "c1"), '{"name":"cbr0","type":"bridge","ipam":{"subnet":"10.1.17.0/24"}}');
    bed.answers["DEL"] = [{ code: 1 }];
    assert.equal((await bed.run("DEL")).code, 1);
    assert.deepEqual(bed.files(), ["c1"]);
    assert.equal((await bed.run("DEL")).code, 0);
    assert.deepEqual(bed.calls[1]!.conf, { name: "cbr0", type: "bridge", ipam: { subnet: "10.1.17.0/24" } });
    assert.deepEqual(bed.files(), []);
  }));

test("DEL makes up for a file that a loss of power left empty, once the node has a subnet", () =>
  withBed(async (bed) => {
    fs.mkdirSync(bed.state);
    fs.writeFileSync(join(bed.state, "c1:eth0"), "");
    bed.subnet(null);
    assert.equal((await bed.run("DEL")).json.code, 11);
    assert.deepEqual(bed.files(), ["c1:eth0"]);
    bed.subnet(SUBNET_ENV);
    assert.equal((await bed.run("DEL")).code, 0);
    assert.equal(bed.calls[0]!.conf["name"], "cbr0");
    assert.deepEqual(bed.files(), []);
  }));

test("CHECK gives the delegate what ADD gave it, with the previous result", () =>
  withBed(async (bed) => {
    await bed.run("ADD");
    const prevResult = JSON.parse(RESULT);
    assert.deepEqual(await bed.run("CHECK", { prevResult }), { code: 0, stdout: "", json: null });
    assert.deepEqual(bed.calls[1], { ...bed.calls[1]!, command: "CHECK", conf: { ...bed.calls[0]!.conf, prevResult } });
    bed.answers["CHECK"] = [{ code: 1, stdout: '{"code":99,"msg":"gone"}' }];
    assert.deepEqual((await bed.run("CHECK", { prevResult })).json, { cniVersion: "1.0.0", code: 99, msg: "gone" });
  }));

test("CHECK names the gateways of the previous result's routes, which bridge looks for", () =>
  withBed(async (bed) => {
    await bed.run("ADD");
    const ips = [{ address: "10.1.17.2/24", gateway: "10.1.17.1" }, { address: "fc00::2/64", gateway: "fc00::1" }, {
      gateway: "10.9.9.9",
    }];
    const routes = [{ dst: "10.1.0.0/16" }, { dst: "fc00::/48" }, { dst: "0.0.0.0/0", gw: "10.1.17.9" }];
    await bed.run("CHECK", { prevResult: { ips, routes, dns: {} } });
    const expected = [{ dst: "10.1.0.0/16", gw: "10.1.17.1" }, { dst: "fc00::/48", gw: "fc00::1" }, routes[2]];
    assert.deepEqual(bed.calls[1]!.conf["prevResult"], { ips, routes: expected, dns: {} });
    await bed.run("CHECK", { prevResult: { routes, ips: [null, {}] } });
    assert.deepEqual(bed.calls[2]!.conf["prevResult"], { routes, ips: [null, {}] });
  }));

test("CHECK fails where nothing is known, and where the subnet is another node's now", () =>
  withBed(async (bed) => {
    const conf = { prevResult: {} };
    assert.equal((await bed.run("CHECK", conf)).json.code, 3);
    await bed.run("ADD");
    assert.equal((await bed.run("CHECK")).json.code, 7);
    assert.equal((await bed.run("CHECK", { ...conf, cniVersion: "0.3.1" })).json.code, 1);
    bed.subnet(null);
    assert.equal((await bed.run("CHECK", conf)).code, 0);
    bed.subnet(SUBNET_ENV.replace("10.1.17.1", "10.1.18.1"));
    const { code, msg } = (await bed.run("CHECK", conf)).json;
    assert.equal(code, 101);
    assert.match(msg, /10\.1\.17\.0\/24 of the container is not this node's any more, which is 10\.1\.18\.0\/24/);
    assert.deepEqual(bed.commands(), ["ADD", "CHECK"]);
  }));
