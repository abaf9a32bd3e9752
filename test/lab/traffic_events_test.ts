/**
 * The agent and its traffic rules: what changes in nf_tables is put right by event, and by no more than one transaction.
 *
 * @module
 */

import assert from "node:assert/strict";
import { resolve } from "node:path";
import { labTest } from "./case.ts";
import { until } from "./command.ts";
import { Lab } from "./lab.ts";
import { runtimeCommand } from "./paths.ts";

/** How long a repair may take, in milliseconds. */
const AT_ONCE = 1_000;

const MONITOR = resolve(import.meta.dirname!, "ruleset_monitor.ts");

for (
  const [mode, nftables, list, tamperings] of [
    ["nftables", true, "nft list table ip flannel-ipv4", [
      "nft flush chain ip flannel-ipv4 postrtg",
      "nft insert rule ip flannel-ipv4 forward ip saddr 10.0.0.0/8 drop",
      "nft flush ruleset",
    ]],
    ["iptables-nft", false, "iptables-nft -S FLANNEL-FWD; iptables-nft -t nat -S", [
      "iptables-nft -t nat -F FLANNEL-POSTRTG",
      "iptables-nft -I FLANNEL-FWD -j DROP",
      "iptables-nft -t nat -F POSTROUTING",
    ]],
  ] as const
) {
  labTest(`an agent that looks by itself once a day repairs ${mode} within a second, and writes no more than that`, async () => {
    await using lab = await Lab.create({
      segments: { A: ["a1"] },
      netConf: { Network: "10.244.0.0/16", EnableNFTables: nftables, Backend: { Type: "host-gw" } },
    });
    const node = lab.node("a1");
    const sh = (script: string) => node.exec(["sh", "-ec", script]);
    await sh("iptables-nft -t nat -N KUBE-POSTROUTING"); // so that iptables-legacy is not chosen
    await using agent = node.agent({ args: ["--ip-masq", "--iptables-forward-rules", "--iptables-resync=86400"] });
    await agent.ready(30_000);
    const right = await sh(list);
    await using monitor = node.spawn([...runtimeCommand(), MONITOR], { log: "monitor" });
    const lines = () => monitor.text().split("\n").length - 1;
    await until("changes are told", () => lines() === 1);
    let told = 1; // that it is ready
    for (const tampering of tamperings) {
      await sh(tampering);
      const from = performance.now();
      await until(`"${tampering}" is repaired`, async () => await sh(list).catch(() => "") === right, {
        timeout: AT_ONCE,
        state: () => agent.tail(),
      });
      console.log(`# ${tampering}: ${(performance.now() - from).toFixed(0)} ms`);
      told += 2;
    }
    await sh("nft 'add table ip others; add chain ip others c; add rule ip others c accept'");
    await until("the last change is told", () => lines() > told);
    assert.equal(lines(), told + 1, monitor.text());
  });
}
