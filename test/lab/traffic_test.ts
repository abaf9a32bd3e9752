/**
 * The traffic rules in the real kernel: what they look like, that tampering is repaired, and what is taken over or removed.
 *
 * Every test has network namespaces of its own. `test/lab/run.ts` runs this file in the lab; elsewhere all of it is skipped.
 *
 * @module
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { parseCidr } from "../../src/model/ip.ts";
import { perform } from "../../src/traffic/command.ts";
import { everythingOfOurs } from "../../src/traffic/firewall.ts";
import type { TrafficManager } from "../../src/traffic/manager.ts";
import { intentOf, type PodRange } from "../../src/traffic/rules.ts";
import { PATIENCE } from "./command.ts";
import { insideLab } from "./enter.ts";
import { IPTABLES, keep, Machine, NFTABLES, RANGES, until, VARIANTS } from "./traffic_machine.ts";

const IPV4 = RANGES[4];
const DUAL = [RANGES[4], RANGES[6]];

function lab(name: string, body: () => Promise<void>): void {
  test(name, { skip: insideLab() ? false : "needs the lab: run it by test/lab/run.ts" }, body);
}

const MULTICAST = { 4: "224.0.0.0/4", 6: "ff00::/8" };
const MASQ = '-m comment --comment "flanneld masq"';
const FWD = '-m comment --comment "flanneld forward"';

/** Flannel HEAD's chains as `iptables -S` prints them. */
function headChains(family: 4 | 6): { nat: string[]; filter: string[] } {
  const { network: N, subnet: S } = RANGES[family];
  return {
    nat: [
      "-N FLANNEL-POSTRTG",
      `-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 ${MASQ} -j RETURN`,
      `-A FLANNEL-POSTRTG -s ${S} -d ${N} ${MASQ} -j RETURN`,
      `-A FLANNEL-POSTRTG -s ${N} -d ${S} ${MASQ} -j RETURN`,
      `-A FLANNEL-POSTRTG ! -s ${N} -d ${S} ${MASQ} -j RETURN`,
      `-A FLANNEL-POSTRTG -s ${N} ! -d ${MULTICAST[family]} ${MASQ} -j MASQUERADE --random-fully`,
      `-A FLANNEL-POSTRTG ! -s ${N} -d ${N} ${MASQ} -j MASQUERADE --random-fully`,
    ],
    filter: ["-N FLANNEL-FWD", `-A FLANNEL-FWD -s ${N} ${FWD} -j ACCEPT`, `-A FLANNEL-FWD -d ${N} ${FWD} -j ACCEPT`],
  };
}

/** Flannel HEAD's table as `nft list` prints it, but with the mark tested by bit and the fourth rule of the iptables mode. */
function headTable(family: 4 | 6): string {
  const { network: N, subnet: S } = RANGES[family];
  const ip = family === 4 ? "ip" : "ip6";
  return `table ${ip} flannel-ipv${family} {
	comment "rules for flannel-ipv${family}"
	chain postrtg {
		comment "chain to manage traffic masquerading by flannel"
		type nat hook postrouting priority srcnat; policy accept;
		meta mark & 0x00004000 == 0x00004000 return
		${ip} saddr ${S} ${ip} daddr ${N} return
		${ip} saddr ${N} ${ip} daddr ${S} return
		${ip} saddr != ${N} ${ip} daddr ${S} return
		${ip} saddr ${N} ${ip} daddr != ${MULTICAST[family]} masquerade fully-random
		${ip} saddr != ${N} ${ip} daddr ${N} masquerade fully-random
	}

	chain forward {
		comment "chain to accept flannel traffic"
		type filter hook forward priority filter; policy accept;
		${ip} saddr ${N} accept
		${ip} daddr ${N} accept
	}
}
`;
}

/** Asserts that iptables prints exactly flannel's rules, with the jumps behind whatever was there. */
async function assertIptables(machine: Machine, variant: string, family: 4 | 6, before: string[] = []): Promise<void> {
  const list = async (args: string) => {
    const text = await machine.sh(`${family === 4 ? "iptables" : "ip6tables"}-${variant} ${args}`);
    return text.trimEnd().split("\n");
  };
  const { nat, filter } = headChains(family);
  assert.deepEqual(await list("-t nat -S FLANNEL-POSTRTG"), nat);
  assert.deepEqual(await list("-t filter -S FLANNEL-FWD"), filter);
  assert.deepEqual(await list("-t nat -S POSTROUTING"), [
    "-P POSTROUTING ACCEPT",
    ...before,
    `-A POSTROUTING ${MASQ} -j FLANNEL-POSTRTG`,
  ]);
  assert.deepEqual(await list("-t filter -S FORWARD"), ["-P FORWARD ACCEPT", `-A FORWARD ${FWD} -j FLANNEL-FWD`]);
}

async function assertNft(machine: Machine, families: readonly (4 | 6)[]): Promise<void> {
  assert.equal(await machine.sh("nft list ruleset"), families.map(headTable).join(""));
}

for (const variant of VARIANTS) {
  lab(`iptables-${variant} shows flannel's chains in both families, where kube-proxy's chains are`, async () => {
    await using machine = await Machine.make();
    await machine.sh(
      `iptables-${variant} -t nat -N KUBE-POSTROUTING; iptables-${variant} -t nat -A POSTROUTING -j KUBE-POSTROUTING`,
    );
    const manager = machine.manager();
    await keep(manager, intentOf(IPTABLES, DUAL));
    assert.equal(manager.state.held, `iptables-${variant}`);
    await assertIptables(machine, variant, 4, ["-A POSTROUTING -j KUBE-POSTROUTING"]);
    await assertIptables(machine, variant, 6);
    const other = variant === "nft" ? "legacy" : "nft";
    assert.equal(await machine.sh(`iptables-${other}-save`), "", `iptables-${other} is left alone`);
  });
}

lab("nft list shows flannel's tables with the mark tested by bit, and no iptables is needed", async () => {
  await using machine = await Machine.make();
  const manager = machine.manager(null, (argv, stdin) => argv[0] === "nft" ? machine.run(argv, stdin) : Promise.resolve(null));
  await keep(manager, intentOf(NFTABLES, DUAL));
  await assertNft(machine, [4, 6]);
});

lab("without iptables the state says so, until it is there", async () => {
  await using machine = await Machine.make();
  let installed = false;
  const manager = machine.manager(null, (argv, stdin) => installed ? machine.run(argv, stdin) : Promise.resolve(null));
  manager.keep(intentOf(IPTABLES, [IPV4]));
  await until(manager, ({ lastError }) => lastError?.includes("found none of the programs iptables-nft") === true);
  assert.equal(manager.state.inPlace, false);
  installed = true;
  await until(manager, ({ inPlace }) => inPlace);
  await assertIptables(machine, "nft", 4);
});

/** Ways to break the rules in iptables, each a table and the lines of one transaction: the repair must not come in between. */
const IPTABLES_TAMPERING: Readonly<Record<string, readonly [table: "nat" | "filter", ...lines: string[]]>> = {
  "flushing a chain": ["nat", "-F FLANNEL-POSTRTG"],
  "deleting a rule": ["nat", "-D FLANNEL-POSTRTG 5"],
  "moving a rule": ["nat", "-D FLANNEL-POSTRTG 1", `-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 ${MASQ} -j RETURN`],
  "inserting a rule": ["nat", "-I FLANNEL-POSTRTG -p icmp -j RETURN"],
  "appending a rule": ["filter", "-A FLANNEL-FWD -j DROP"],
  "replacing a rule": ["filter", `-R FLANNEL-FWD 1 -s 10.244.0.0/17 ${FWD} -j ACCEPT`],
  "deleting a jump": ["nat", `-D POSTROUTING ${MASQ} -j FLANNEL-POSTRTG`],
  "deleting a chain": ["filter", `-D FORWARD ${FWD} -j FLANNEL-FWD`, "-F FLANNEL-FWD", "-X FLANNEL-FWD"],
  "flushing a table": ["nat", "-F"],
};

for (const variant of VARIANTS) {
  lab(`iptables-${variant} is repaired after each kind of tampering`, async () => {
    await using machine = await Machine.make();
    await machine.sh(`iptables-${variant} -t nat -N KUBE-POSTROUTING`);
    const manager = machine.manager(variant === "nft" ? await machine.changes() : null);
    await keep(manager, intentOf({ ...IPTABLES, resync: variant === "nft" ? 600 : 1 }, [IPV4]));
    for (const [name, [table, ...lines]] of Object.entries(IPTABLES_TAMPERING)) {
      const transaction = [`*${table}`, ...lines, "COMMIT"].join("\n");
      const took = await repaired(
        manager,
        name,
        () => machine.sh(`iptables-${variant}-restore --noflush -w 10 <<END\n${transaction}\nEND`),
      );
      if (variant === "nft") assert.ok(took < AT_ONCE, name);
      await assertIptables(machine, variant, 4);
    }
  });
}

/** Prints the handle of the rule in which a text is found. */
const HANDLE = `handle() { nft -a list chain ip flannel-ipv4 postrtg | sed -n "s/.*$1.*handle //p"; }`;
/** Ways to break the rules in nftables, each in one transaction. */
const NFT_TAMPERING: Readonly<Record<string, string>> = {
  "flushing a chain": "nft flush chain ip flannel-ipv4 postrtg",
  "deleting a rule": "nft delete rule ip flannel-ipv4 postrtg handle $(handle '!= 224')",
  "moving a rule":
    'nft "delete rule ip flannel-ipv4 postrtg handle $(handle mark); add rule ip flannel-ipv4 postrtg meta mark & 0x4000 == 0x4000 return"',
  "inserting a rule": "nft insert rule ip flannel-ipv4 postrtg ip saddr 10.244.0.0/16 return",
  "appending a rule": "nft add rule ip flannel-ipv4 forward tcp dport 80 drop",
  "adding a counter": "nft insert rule ip flannel-ipv4 forward ip saddr 10.244.0.0/16 counter accept",
  "changing the policy": "nft add chain ip flannel-ipv4 forward '{ policy drop; }'",
  "changing the priority":
    "nft 'delete chain ip flannel-ipv4 postrtg; add chain ip flannel-ipv4 postrtg { type nat hook postrouting priority 300; }'",
  "unhooking a chain": "nft 'delete chain ip flannel-ipv4 forward; add chain ip flannel-ipv4 forward'",
  "deleting a chain": "nft delete chain ip flannel-ipv4 forward",
  "putting the table to sleep": "nft add table ip flannel-ipv4 '{ flags dormant; }'",
  "deleting the table": "nft delete table ip flannel-ipv4",
  "flushing the ruleset": "nft flush ruleset",
};

lab("nftables is repaired after each kind of tampering", async () => {
  await using machine = await Machine.make();
  const manager = machine.manager(await machine.changes());
  await keep(manager, intentOf({ ...NFTABLES, resync: 600 }, [IPV4]));
  for (const [name, script] of Object.entries(NFT_TAMPERING)) {
    assert.ok(await repaired(manager, name, () => machine.sh(`${HANDLE}; ${script}`)) < AT_ONCE, name);
    const list = await machine.sh("nft list table ip flannel-ipv4");
    assert.deepEqual(list.split("\n").sort(), headTable(4).split("\n").sort(), name);
  }
  assert.match(manager.state.lastRepair!, /table ip flannel-ipv4 in place, after a change by \S+ \(\d+\)/);
});

lab("nftables is repaired at the resync period where the kernel does not tell of changes", async () => {
  await using machine = await Machine.make();
  const manager = machine.manager();
  await keep(manager, intentOf(NFTABLES, [IPV4]));
  await repaired(manager, "flushing the ruleset", () => machine.sh("nft flush ruleset"));
  await assertNft(machine, [4]);
});

/** How long a repair may take where the kernel tells of the change, in milliseconds. */
const AT_ONCE = 1_000 * PATIENCE;

/** Tampers, waits until that was repaired, and gives the milliseconds until then. */
async function repaired(manager: TrafficManager, name: string, tamper: () => Promise<unknown>): Promise<number> {
  const { repairs } = manager.state;
  await tamper();
  const from = performance.now();
  await until(manager, (state) => state.repairs > repairs && state.inPlace && state.lastError === null);
  const took = performance.now() - from;
  console.log(`# ${name}: ${took.toFixed(0)} ms`);
  return took;
}

lab("rules that flannel HEAD left in iptables are taken over without a write", async () => {
  await using machine = await Machine.make();
  await keep(machine.manager(), intentOf(IPTABLES, [IPV4]));
  machine.ran.length = 0;
  await keep(machine.manager(), intentOf(IPTABLES, [IPV4]));
  assert.deepEqual(machine.ran.filter((command) => command.includes("restore")), []);
});

lab("the tables that flannel HEAD left in nftables are taken over", async () => {
  await using machine = await Machine.make();
  await machine.sh(`nft -f - <<END
add table ip flannel-ipv4 { comment "rules for flannel-ipv4"; }
add table ip6 flannel-ipv6 { comment "rules for flannel-ipv6"; }
add chain ip flannel-ipv4 postrtg { type nat hook postrouting priority srcnat; comment "chain to manage traffic masquerading by flannel"; }
add rule ip flannel-ipv4 postrtg meta mark 0x4000 return
add rule ip flannel-ipv4 postrtg ip saddr 10.244.1.0/24 ip daddr 10.244.0.0/16 return
add rule ip flannel-ipv4 postrtg ip saddr 10.244.0.0/16 ip daddr 10.244.1.0/24 return
add rule ip flannel-ipv4 postrtg ip saddr != 10.244.1.0/24 ip daddr 10.244.0.0/16 return
add rule ip flannel-ipv4 postrtg ip saddr 10.244.0.0/16 ip daddr != 224.0.0.0/4 masquerade fully-random
add rule ip flannel-ipv4 postrtg ip saddr != 10.244.0.0/16 ip daddr 10.244.0.0/16 masquerade fully-random
END`);
  await keep(machine.manager(), intentOf(NFTABLES, [IPV4]));
  await assertNft(machine, [4]);
});

/** What flannel v0.11 puts into the built-in chains. */
const V0_11 = `
$i -t nat -A POSTROUTING -s 10.244.0.0/16 -d 10.244.0.0/16 -j RETURN
$i -t nat -A POSTROUTING -s 10.244.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE --random-fully
$i -t nat -A POSTROUTING ! -s 10.244.0.0/16 -d 10.244.1.0/24 -j RETURN
$i -t nat -A POSTROUTING ! -s 10.244.0.0/16 -d 10.244.0.0/16 -j MASQUERADE --random-fully
$i -A FORWARD -s 10.244.0.0/16 -j ACCEPT
$i -A FORWARD -d 10.244.0.0/16 -j ACCEPT
`;
/** Rules of others, which look a little like ours. */
const FOREIGN = `
$i -t nat -A POSTROUTING -s 10.244.0.0/16 -o lo -j MASQUERADE
$i -t nat -A POSTROUTING -s 172.17.0.0/16 -j MASQUERADE
$i -A FORWARD -s 10.9.0.0/16 -j ACCEPT
$i -A FORWARD -m comment --comment "by hand" -d 10.244.0.0/16 -j ACCEPT
$j -t nat -A POSTROUTING -s fd00::/8 -o lo -j MASQUERADE
$j -A FORWARD -s fd00:9::/56 -j ACCEPT
nft add table ip mine
nft add chain ip mine forward '{ type filter hook forward priority 0; }'
nft add rule ip mine forward ip saddr 10.244.0.0/16 accept
`;

for (const variant of VARIANTS) {
  lab(
    `from v0.11 in iptables-${variant} to iptables, nftables and back nothing is left behind, and foreign rules stay`,
    async () => {
      await using machine = await Machine.make();
      const other = variant === "nft" ? "legacy" : "nft";
      // All tables exist from the start, since nothing removes a built-in one.
      for (const each of VARIANTS) await machine.sh(`i=iptables-${each}; j=ip6tables-${each}; ${FOREIGN}`);
      await machine.sh(`iptables-${other} -t nat -N KUBE-POSTROUTING`);
      const untouched = await machine.firewall();

      await machine.sh(`i=iptables-${variant}; ${V0_11}`);
      const manager = machine.manager();
      await keep(manager, intentOf(IPTABLES, DUAL));
      assert.equal(manager.state.held, `iptables-${other}`);
      const asIptables = await machine.firewall();
      await keep(manager, intentOf(NFTABLES, DUAL));
      const asNftables = await machine.firewall();
      assert.equal(asNftables.includes("FLANNEL"), false);
      await keep(manager, intentOf(IPTABLES, DUAL));
      assert.equal(await machine.firewall(), asIptables);

      await manager.close();
      await perform(machine.run, await everythingOfOurs(machine.run, DUAL));
      assert.equal(await machine.firewall(), untouched);
    },
  );
}

lab("rules that are not wanted any more go, and those of a former network too", async () => {
  await using machine = await Machine.make();
  const before: PodRange = { network: parseCidr("10.9.0.0/16"), subnet: parseCidr("10.9.3.0/24") };
  const manager = machine.manager();
  for (const settings of [IPTABLES, NFTABLES]) {
    await keep(manager, intentOf(settings, [before, RANGES[6]]));
    await keep(manager, intentOf({ ...settings, masquerade: false }, [IPV4]));
    const firewall = await machine.firewall();
    assert.equal(/FLANNEL-POSTRTG|masquerade|MASQUERADE|10\.9\.|fd00/.test(firewall), false, firewall);
    await keep(manager, intentOf({ ...settings, masquerade: false, forward: false }, [IPV4]));
    assert.equal(/FLANNEL|flannel/.test(await machine.firewall()), false);
    assert.equal(manager.state.held, null);
  }
});

for (const [name, settings] of Object.entries({ iptables: IPTABLES, nftables: NFTABLES })) {
  lab(`two agents with different networks share a node in ${name}`, async () => {
    await using machine = await Machine.make();
    const other: PodRange = { network: parseCidr("10.12.0.0/16"), subnet: parseCidr("10.12.5.0/24") };
    const changes = await machine.changes();
    const [first, second] = [machine.manager(changes), machine.manager(changes)];
    await keep(first, intentOf(settings, [IPV4]));
    const alone = await machine.firewall();
    await keep(second, intentOf(settings, [other]));
    await keep(first, intentOf(settings, [IPV4]));
    const both = await machine.firewall();
    for (const network of [IPV4.network, other.network]) assert.ok(both.split(network).length > 6, both);
    const writes = machine.ran.filter((command) => /restore|nft -f/.test(command)).length;
    await keep(second, intentOf(settings, [other]));
    assert.equal(await machine.firewall(), both);
    assert.equal(machine.ran.filter((command) => /restore|nft -f/.test(command)).length, writes, "they do not fight");
    await keep(second, intentOf({ ...settings, masquerade: false, forward: false }, [other]));
    assert.equal(await machine.firewall(), alone);
  });
}
