/**
 * Prints the changes of nf_tables in its network namespace, as the agent hears of them: "ready", then a line of JSON for each.
 *
 * @module
 */

import process from "node:process";
import { openDriver } from "../../ffi/mod.ts";
import { watchRuleset } from "../../src/netlink/nftables.ts";

const say = (line: string) => process.stdout.write(`${line}\n`);

watchRuleset(await openDriver(), (change) => say(JSON.stringify(change)));
say("ready");
setInterval(() => {}, 60_000); // a subscription alone keeps no process alive
