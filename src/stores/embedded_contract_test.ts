import { EmbeddedBacking } from "../../test/contracts/embedded_backing.ts";
import { leaseStoreContract } from "../../test/contracts/lease_store.ts";

leaseStoreContract("embedded", () => Promise.resolve(new EmbeddedBacking()), { allocates: true, expires: true });
