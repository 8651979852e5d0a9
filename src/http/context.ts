import type { Caller } from '../balancing/clients/caller.ts'
import type { ClientId } from '../balancing/ids.ts'
import type { Gateway } from './composition-root.ts'

/** The values that the middleware passes to the routes. */
export interface HttpEnvironment {
  Bindings: Env
  Variables: {
    requestId: string
    gateway: Gateway
    startedAtMs: number
    /** Set once the request has its line in the log. */
    isLogged?: true
    /** Set only on routes that authenticate the client. */
    clientId: ClientId
    /** What the client may do. Set with `clientId`. */
    caller: Caller
    authMs: number
    /** By what an operator signed in. Set only in the admin API and on its pages, as the next two. */
    operator: string
    /** Whether that may change anything. */
    mayWrite: boolean
    /** When that ends, in epoch milliseconds; null if it does not by itself. */
    signedInUntilMs: number | null
  }
}
