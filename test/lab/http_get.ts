/**
 * Asks an HTTP server from inside a namespace: `http_get.ts URL` writes an {@linkcode Answer} as one line of JSON.
 *
 * @module
 */

import process from "node:process";
import type { Answer } from "./agent.ts";

const response = await fetch(process.argv[2]!, { signal: AbortSignal.timeout(5000) });
const answer: Answer = { code: response.status, body: await response.text() };
console.log(JSON.stringify(answer));
