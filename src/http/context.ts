import type { RequestIdVariables } from 'hono/request-id'
import type { ClientId } from '../balancing/ids.ts'
import type { Gateway } from './composition-root.ts'

/** What the middleware hands to the routes. */
export interface HttpEnvironment {
  Bindings: Env
  Variables: RequestIdVariables & {
    gateway: Gateway
    startedAtMs: number
    /** Set where a client key was asked for. */
    clientId: ClientId
    authMs: number
  }
}
