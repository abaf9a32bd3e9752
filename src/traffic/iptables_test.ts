import assert from "node:assert/strict";
import { test } from "node:test";
import { parseCidr } from "../model/ip.ts";
import type { Run } from "./command.ts";
import { iptablesSteps, leftInIptables } from "./iptables.ts";
import { chooseVariant, installedVariants } from "./iptables_variants.ts";
import { intentOf, type PodRange } from "./rules.ts";

const RANGE: PodRange = { network: parseCidr("10.244.0.0/16"), subnet: parseCidr("10.244.1.0/24") };
const WANTED = intentOf({ masquerade: true, forward: true, fullyRandom: true, mode: "iptables", resync: 5 }, [RANGE]).families[0]!;

/** A machine with the named commands and what they print. */
function machine(commands: Readonly<Record<string, string>>): Run {
  return (argv) => {
    const stdout = commands[argv.join(" ")];
    const installed = Object.keys(commands).some((command) => command.split(" ")[0] === argv[0]);
    if (stdout !== undefined) return Promise.resolve({ status: 0, stdout, stderr: "" });
    return Promise.resolve(installed ? { status: 1, stdout: "", stderr: "iptables: no chain by that name.\n" } : null);
  };
}

const table = (name: string, ...lines: string[]) => `# Generated\n*${name}\n${lines.join("\n")}\nCOMMIT\n`;
const KUBE = table("mangle", ":KUBE-KUBELET-CANARY - [0:0]");
const OURS = table("nat", ":FLANNEL-POSTRTG - [0:0]", '-A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG');
const DOCKER = table("nat", ":DOCKER - [0:0]", "-A POSTROUTING -s 172.17.0.0/16 -j MASQUERADE", "-A DOCKER -j RETURN");
const NFT_VERSION = "iptables v1.8.9 (nf_tables)\n";
const LEGACY_VERSION = "iptables v1.8.9 (legacy)\n";

async function chosen(nft: string, legacy: string, version: string): Promise<string | undefined> {
  const run = machine({ "iptables-nft-save": nft, "iptables-legacy-save": legacy, "iptables --version": version });
  return (await chooseVariant(run, await installedVariants(run)))?.name;
}

test("chooseVariant() goes where kube-proxy and kubelet are, whatever else there is", async () => {
  assert.equal(await chosen(KUBE, OURS + DOCKER, LEGACY_VERSION), "nft");
  assert.equal(await chosen(OURS + DOCKER, KUBE, NFT_VERSION), "legacy");
});

test("chooseVariant() goes else where flannel's chains are, else where rules are, else where iptables leads", async () => {
  assert.equal(await chosen(OURS, DOCKER, LEGACY_VERSION), "nft");
  assert.equal(await chosen("", DOCKER, NFT_VERSION), "legacy");
  assert.equal(await chosen(DOCKER, "", LEGACY_VERSION), "nft");
  assert.equal(await chosen("", "", NFT_VERSION), "nft");
  assert.equal(await chosen("", "", LEGACY_VERSION), "legacy");
});

test("chooseVariant() takes no variant that the kernel does not know, if there is another", async () => {
  const run = machine({ "iptables-legacy-save": "", "iptables-nft-save -x": "", "iptables --version": NFT_VERSION });
  assert.equal((await chooseVariant(run, await installedVariants(run)))?.name, "legacy");
});

test("installedVariants() takes plain iptables where there are no programs for its variants", async () => {
  for (const [version, name] of [[NFT_VERSION, "nft"], [LEGACY_VERSION, "legacy"], ["iptables v1.6.2\n", "legacy"]] as const) {
    const run = machine({ "iptables --version": version, "iptables-save": "" });
    const installed = await installedVariants(run);
    assert.deepEqual(installed.map(({ variant }) => variant), [{ name, suffix: "" }]);
    assert.equal((await chooseVariant(run, installed))?.name, name);
  }
  assert.deepEqual(await installedVariants(machine({})), []);
  assert.equal(await chooseVariant(machine({}), []), null);
});

test("installedVariants() never names a table, since the old interface would make it", async () => {
  const ran: string[] = [];
  await installedVariants((argv, stdin) => {
    ran.push(argv.join(" "));
    return machine({ "iptables-legacy-save": "", "iptables-nft-save": "" })(argv, stdin);
  });
  assert.deepEqual(ran, ["iptables-nft-save", "ip6tables-nft-save", "iptables-legacy-save", "ip6tables-legacy-save"]);
});

test("iptablesSteps() is one restore per table, without a flush of its own", async () => {
  const run = machine({ "iptables-nft --version": NFT_VERSION });
  const steps = await iptablesSteps(run, { name: "nft", suffix: "-nft" }, WANTED, [RANGE.network]);
  assert.deepEqual(steps.map(({ argv }) => argv), Array(2).fill(["iptables-nft-restore", "--noflush", "-w", "10"]));
  for (const { stdin } of steps) assert.match(stdin, /^\*(nat|filter)\n:FLANNEL-\w+ - \[0:0\]\n(-A .*\n)+COMMIT\n$/);
});

test("iptablesSteps() says which program is missing and what it said", async () => {
  await assert.rejects(iptablesSteps(machine({}), { name: "nft", suffix: "-nft" }, WANTED, []), {
    message: 'Cannot read chain FLANNEL-POSTRTG of table nat: there is no program "iptables-nft"; install it',
  });
  await assert.rejects(iptablesSteps(machine({ "iptables-legacy-save": "" }), { name: "legacy", suffix: "-legacy" }, WANTED, []), {
    message: "Cannot read table nat: iptables-legacy-save ended with 1: iptables: no chain by that name.",
  });
});

test("leftInIptables() clears the other variant and unwanted chains, and leaves what is in use", async () => {
  const run = machine({ "iptables-nft-save": OURS, "iptables-legacy-save": OURS, "ip6tables-nft-save": OURS });
  const installed = await installedVariants(run);
  const programs = (used: "nft" | null) => {
    const variant = installed.find((each) => each.variant.name === used)?.variant ?? null;
    return leftInIptables(installed, variant, used === null ? [] : [WANTED], [RANGE]).map(({ argv }) => argv[0]);
  };
  assert.deepEqual(programs("nft"), ["ip6tables-nft-restore", "iptables-legacy-restore"]);
  assert.deepEqual(programs(null), ["iptables-nft-restore", "ip6tables-nft-restore", "iptables-legacy-restore"]);
});
