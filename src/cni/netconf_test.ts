import assert from "node:assert/strict";
import { test } from "node:test";
import { parseObject, readNetConf, versionOf } from "./netconf.ts";

test("readNetConf() takes paths from the configuration, else flannel's", () => {
  const given = readNetConf({ name: "cni-flannel", type: "flannel", subnetFile: "/a/subnet.env", dataDir: "/b" });
  assert.equal(given.subnetFile, "/a/subnet.env");
  assert.equal(given.dataDir, "/b");
  const { subnetFile, dataDir, ...rest } = readNetConf({ name: "cni-flannel", type: "flannel", subnetFile: null });
  assert.equal(subnetFile, "/run/flannel/subnet.env");
  assert.equal(dataDir, "/var/lib/cni/flannel");
  assert.deepEqual(rest, {
    cniVersion: "",
    name: "cni-flannel",
    delegate: {},
    ipam: {},
    runtimeConfig: null,
    prevResult: null,
    validAttachments: null,
  });
});

test("readNetConf() matches keys whatever their case, the last one counts", () => {
  const conf = parseObject('{"NAME":"a","subnetfile":"/x","SubnetFile":"/y","CniVersion":"0.3.1"}');
  assert.equal(readNetConf(conf).subnetFile, "/y");
  assert.equal(versionOf(conf), "0.3.1");
});

test("readNetConf() tells an absent list of valid attachments from an empty one", () => {
  const read = (list: string) => readNetConf(parseObject(`{"name":"n"${list}}`)).validAttachments;
  assert.equal(read(""), null);
  assert.deepEqual(read(',"cni.dev/valid-attachments":[]'), []);
  assert.deepEqual(read(',"cni.dev/valid-attachments":null'), []);
  assert.deepEqual(read(',"cni.dev/attachments":[{"containerID":"c","ifname":"eth0"}]'), [{ containerId: "c", ifname: "eth0" }]);
});

for (
  const [text, code, message] of [
    ["", 6, /not JSON/],
    ["{", 6, /not JSON/],
    ['{"name":"n"} x', 6, /not JSON/],
    ["[]", 6, /not a JSON object/],
    ["null", 6, /not a JSON object/],
    ['"x"', 6, /not a JSON object/],
    ["{}", 7, /name is missing/],
    ['{"name":""}', 7, /name is missing/],
    ['{"name":"../x"}', 7, /name "\.\.\/x" is invalid/],
    ['{"name":7}', 6, /name must be a text, is 7/],
    ['{"name":"n","cniVersion":1}', 6, /cniVersion must be a text, is 1/],
    ['{"name":"n","dataDir":["/x"]}', 6, /dataDir must be a path/],
    ['{"name":"n","delegate":[]}', 6, /delegate must be an object, is \[\]/],
    ['{"name":"n","ipam":"host-local"}', 6, /ipam must be an object/],
    ['{"name":"n","prevResult":1}', 6, /prevResult must be an object/],
    ['{"name":"n","cni.dev/valid-attachments":{}}', 6, /must be a list/],
    ['{"name":"n","cni.dev/valid-attachments":[{"containerID":"c"}]}', 6, /lacks containerID or ifname/],
    ['{"name":"n","cni.dev/valid-attachments":["c"]}', 6, /lacks containerID or ifname/],
  ] as const
) {
  test(`readNetConf() refuses ${text === "" ? "nothing" : text}`, () => {
    assert.throws(() => readNetConf(parseObject(text)), { code, message });
  });
}
