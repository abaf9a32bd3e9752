/**
 * Stands in for systemd: receives the datagrams that a service sends to `NOTIFY_SOCKET`, and prints each as one line of JSON.
 *
 * Runs under Deno whatever runs the test (`deno run -A --unstable-net notify_socket.ts PATH`): nothing else that is always there can
 * receive from a Unix datagram socket.
 *
 * @module
 */

import process from "node:process";

/** What Deno calls it, without its unstable types. */
interface DatagramSocket {
  receive(): Promise<[data: Uint8Array, from: unknown]>;
}

type Listen = (options: { readonly transport: "unixpacket"; readonly path: string }) => DatagramSocket;

const listen = (globalThis as unknown as { readonly Deno: { readonly listenDatagram: Listen } }).Deno.listenDatagram;
const socket = listen({ transport: "unixpacket", path: process.argv[2]! });
console.log('"listening"');
for (;;) {
  const [data] = await socket.receive();
  console.log(JSON.stringify(new TextDecoder().decode(data)));
}
