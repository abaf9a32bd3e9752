/**
 * Watches a file in a process of its own, and tells of every look that it is asked for.
 *
 * @module
 */

import process from "node:process";
import { watchFolder } from "../watch_folder.ts";
import { FileWatch } from "../../src/stores/file_watch.ts";

const watch = new FileWatch(process.argv[2]!, 1, watchFolder);
for (;;) {
  await watch.next(new AbortController().signal);
  console.log(JSON.stringify({ problem: watch.problem }));
}
