/**
 * The types of the command line's values: what each is called in help, which texts it allows and what they become.
 *
 * Texts are parsed here once; behind it there are only addresses, numbers and choices. Nothing here knows a flag by name, and nothing
 * throws: a text that is not allowed has no value. Source of the boolean forms: Go, `strconv.ParseBool`.
 *
 * @module
 */

import { type Family, familyOf, type Ip, tryParseIp, unusableAsPeer } from "../model/ip.ts";
import { type ListenAddress, parseListen } from "../model/listen.ts";
import type { FlagType } from "./flag.ts";
import { Secret } from "./secret.ts";

/** One way to choose the device that leads to the other nodes. */
export type InterfaceChoice =
  | { readonly by: "address"; readonly ip: Ip }
  | { readonly by: "name"; readonly name: string }
  | { readonly by: "regex"; readonly regex: RegExp }
  | { readonly by: "reach"; readonly ip: Ip };

/** Any text, also none. */
export const text: FlagType<string> = { value: "TEXT", allowed: "any text", parse: (text) => text };

/** Any text that must not be printed. */
export const secret: FlagType<Secret> = { value: "TEXT", allowed: "any text", parse: (text) => new Secret(text) };

/** The path of a file or directory. */
export const path: FlagType<string> = { value: "PATH", allowed: "a path", parse: (text) => text === "" ? undefined : text };

const BOOLEANS: Readonly<Record<string, boolean>> = Object.assign(Object.create(null), {
  ...Object.fromEntries(["1", "t", "T", "true", "TRUE", "True"].map((text) => [text, true])),
  ...Object.fromEntries(["0", "f", "F", "false", "FALSE", "False"].map((text) => [text, false])),
});

/** Yes or no. */
export const boolean: FlagType<boolean> = { value: "", allowed: "true or false", parse: (text) => BOOLEANS[text] };

/** A whole number from `min` to `max`, in decimal digits. */
export function integer(min: number, max: number, unit = ""): FlagType<number> {
  return {
    value: "N",
    allowed: `a whole number${unit && " of "}${unit} from ${min} to ${max}`,
    parse(text) {
      if (!/^(0|[1-9]\d{0,14})$/.test(text)) return undefined;
      const value = Number(text);
      return value >= min && value <= max ? value : undefined;
    },
  };
}

/** A TCP or UDP port. */
export const port: FlagType<number> = { ...integer(0, 65535), value: "PORT" };

/** One of a few words. */
export function choice<const T extends string>(...words: readonly T[]): FlagType<T> {
  return { value: words.join("|"), allowed: words.join(" or "), parse: (text) => words.find((word) => word === text) };
}

/** As `type`, but an empty text is `null`. */
export function optional<T>(type: FlagType<T>): FlagType<T | null> {
  return { ...type, parse: (text) => text === "" ? null : type.parse(text) };
}

/** An address of either family. */
export const ip: FlagType<Ip> = {
  value: "IP",
  allowed: "an IP address",
  parse: (text) => tryParseIp(text) ?? undefined,
};

/** An address of the family that other nodes can send to. */
export function publicIp(family: Family): FlagType<Ip> {
  return {
    value: `IPV${family}`,
    allowed: `an IPv${family} address that other nodes can send to`,
    parse(text) {
      const ip = tryParseIp(text);
      return ip === null || familyOf(ip) !== family || unusableAsPeer(ip) !== null ? undefined : ip;
    },
  };
}

/** The name of a backend, in lower case. */
export const backendName: FlagType<string> = {
  value: "NAME",
  allowed: "the name of a backend: letters, digits, - and _",
  parse: (text) => /^[a-z0-9][a-z0-9_-]{0,62}$/i.test(text) ? text.toLowerCase() : undefined,
};

/** A device by one of its addresses or by its name. */
export const iface: FlagType<InterfaceChoice> = {
  value: "NAME|IP",
  allowed: "the name of a network device (1 to 15 bytes, no slash, no space) or one of its addresses",
  parse(text) {
    const ip = tryParseIp(text);
    if (ip !== null) return { by: "address", ip };
    const fits = /^[^\s/:\p{Cc}]+$/u.test(text) && new TextEncoder().encode(text).length <= 15;
    return fits && text !== "." && text !== ".." ? { by: "name", name: text } : undefined;
  },
};

/**
 * A device by a regular expression, which may match anywhere. Unicode mode refuses what flannel's RE2 knows and JavaScript would
 * silently take for something else, such as `\z` and `[[:digit:]]`; leading flags as in `(?i)eth` are translated.
 */
export const ifaceRegex: FlagType<InterfaceChoice> = {
  value: "REGEX",
  allowed: "a regular expression that JavaScript understands too",
  parse(text) {
    const [lead = "", flags = ""] = /^\(\?([ims]+)\)/.exec(text) ?? [];
    try {
      return text === "" ? undefined : { by: "regex", regex: new RegExp(text.slice(lead.length), `u${flags}`) };
    } catch {
      return undefined;
    }
  },
};

/** A device by where the kernel would send a packet to this address. */
export const ifaceReach: FlagType<InterfaceChoice> = {
  value: "IP",
  allowed: "an IP address",
  parse(text) {
    const ip = tryParseIp(text);
    return ip === null ? undefined : { by: "reach", ip };
  },
};

/** `ip:port`, `unix:/path`, or `off`, which is `null`. */
export const listenAddress: FlagType<ListenAddress | null> = {
  value: "ADDR",
  allowed: "ip:port such as 127.0.0.1:8473 or [::1]:8473, unix:/path (at most 107 bytes), or off",
  parse(text) {
    if (text.startsWith("unix:") && new TextEncoder().encode(text).length > "unix:".length + 107) return undefined;
    try {
      return parseListen(text);
    } catch {
      return undefined;
    }
  },
};

/** The URL of an HTTP server, without user or query, or `null`. */
function httpUrl(text: string): URL | null {
  const url = URL.parse(text);
  const plain = url !== null && /^https?:$/.test(url.protocol) && url.username === "" && url.password === "" &&
    url.search === "" && url.hash === "" && !/[\s\\#?]/.test(text);
  return plain ? url : null;
}

/** One or more addresses of etcd servers, with commas between; one written without a scheme becomes `//host:port`. */
export const endpoints: FlagType<readonly string[]> = {
  value: "URL,...",
  allowed: "http://host:port or https://host:port, several with commas between, and no user (there is --etcd-username)",
  parse(text) {
    const origins: string[] = [];
    for (const part of text.split(",").map((part) => part.trim()).filter((part) => part !== "")) {
      const url = httpUrl(part.includes("://") ? part : `http://${part}`);
      if (url === null || url.pathname !== "/") return undefined;
      origins.push(part.includes("://") ? url.origin : `//${url.host}`);
    }
    return origins.length === 0 ? undefined : origins;
  },
};

/** The URL of an HTTP server; it may have a path. */
export const url: FlagType<string> = {
  value: "URL",
  allowed: "http://host:port or https://host:port, without a user",
  parse: (text) => httpUrl(text)?.href.replace(/\/+$/, ""),
};

/** A key prefix in etcd, without repeated or trailing slashes. */
export const keyPrefix: FlagType<string> = {
  value: "KEY",
  allowed: "a key such as /coreos.com/network",
  parse: (text) => text === "" ? undefined : text.replace(/\/{2,}/g, "/").replace(/\/$/, ""),
};
