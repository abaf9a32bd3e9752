import assert from "node:assert/strict";
import * as fs from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { SUBNET_ENV, withBed } from "./testing.ts";

const GC = { cniVersion: "1.1.0" };
const valid = (...ids: string[]) => ({
  ...GC,
  "cni.dev/valid-attachments": ids.map((id) => ({ containerID: id, ifname: "eth0" })),
});

test("GC detaches what is not valid any more in its own network, and lets the delegate collect", () =>
  withBed(async (bed) => {
    for (const id of ["c1", "c2"]) await bed.run("ADD", {}, { CNI_CONTAINERID: id });
    await bed.run("ADD", {}, { CNI_CONTAINERID: "c1", CNI_IFNAME: "net1" });
    await bed.run("ADD", { name: "other" }, { CNI_CONTAINERID: "c3" });
    fs.writeFileSync(join(bed.state, "c4"), '{"name":"cbr0","type":"bridge"}');
    fs.writeFileSync(join(bed.state, "c5"), "not JSON");
    bed.calls.length = 0;
    assert.deepEqual(await bed.run("GC", valid("c1")), { code: 0, stdout: "", json: null });
    assert.deepEqual(bed.files(), ["c1", "c1:eth0", "c3", "c3:eth0", "c5"]);
    const called = bed.calls.map(({ command, env }) =>
      `${command} ${env["CNI_CONTAINERID"]} ${env["CNI_IFNAME"]} ${env["CNI_NETNS"]}`
    );
    assert.deepEqual(called.slice(0, -1).sort(), ["DEL c1 net1 ", "DEL c2 eth0 ", "DEL c4 eth0 "]);
    const { command, conf } = bed.calls.at(-1)!;
    assert.deepEqual([command, conf["cni.dev/valid-attachments"]], ["GC", [{ containerID: "c1", ifname: "eth0" }]]);
  }));

test("GC removes nothing without a list of what is valid", () =>
  withBed(async (bed) => {
    await bed.run("ADD");
    assert.equal((await bed.run("GC", GC)).json.code, 7);
    assert.equal((await bed.run("GC", { ...valid(), cniVersion: "1.0.0" })).json.code, 1);
    assert.deepEqual(bed.files(), ["c1", "c1:eth0"]);
    await bed.run("DEL");
    assert.equal((await bed.run("GC", GC)).code, 0);
  }));

test("GC goes on after a failure and tells of it", () =>
  withBed(async (bed) => {
    for (const id of ["c1", "c2"]) await bed.run("ADD", {}, { CNI_CONTAINERID: id });
    bed.answers["DEL"] = [{ code: 1, stdout: '{"code":7,"msg":"stuck"}' }];
    const { json } = await bed.run("GC", valid());
    assert.equal(json.code, 100);
    assert.match(json.msg, /stuck/);
    assert.equal(bed.files().length, 2);
    assert.equal(bed.commands().at(-1), "GC");
  }));

test("GC takes a delegate that is older than GC for one that has nothing to collect", () =>
  withBed(async (bed) => {
    bed.answers["GC"] = [{ code: 1, stdout: '{"code":4,"msg":"unknown CNI_COMMAND: GC"}' }, {
      code: 1,
      stdout: '{"code":9,"msg":"x"}',
    }];
    assert.equal((await bed.run("GC", valid())).code, 0);
    assert.equal((await bed.run("GC", valid())).json.code, 100);
  }));

test("STATUS is well where the subnet and the delegate are", () =>
  withBed(async (bed) => {
    assert.deepEqual(await bed.run("STATUS", GC), { code: 0, stdout: "", json: null });
    assert.deepEqual(bed.commands(), ["STATUS"]);
    assert.equal((await bed.run("STATUS")).json.code, 1);
  }));

test("STATUS says 50, or 51 where containers are on a node without a subnet", () =>
  withBed(async (bed) => {
    await bed.run("ADD", { name: "other" });
    bed.subnet(null);
    const { code, msg } = (await bed.run("STATUS", GC)).json;
    assert.equal(code, 50);
    assert.match(msg, /Containers can not be attached: Cannot read the subnet file/);
    assert.equal((await bed.run("STATUS", { ...GC, name: "other" })).json.code, 51);
    bed.subnet(SUBNET_ENV);
    assert.equal((await bed.run("STATUS", { ...GC, delegate: { type: "absent" } })).json.code, 50);
    bed.answers["STATUS"] = [
      { code: 1, stdout: '{"code":51,"msg":"own"}' },
      { code: 1, stdout: '{"code":1,"msg":"incompatible CNI versions","details":"d"}' },
    ];
    assert.equal((await bed.run("STATUS", GC)).json.msg, "own");
    const wrapped = (await bed.run("STATUS", GC)).json;
    assert.deepEqual([wrapped.code, wrapped.msg, wrapped.details], [
      50,
      "Containers can not be attached: the delegate does not speak CNI 1.1.0 (incompatible CNI versions)",
      "d",
    ]);
  }));
