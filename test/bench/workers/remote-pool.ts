import gateway, { Flight, KeyPool } from '../../../src/index.ts'

/**
 * The gateway as it is deployed, in one of several processes that share a pool. workerd alone reaches
 * no object of another process, so here the calls go as JSON to the process that has it. Only for the
 * test that ends such a process: nothing is timed with it.
 */

interface RemoteEnv extends Env {
  /** Where the object's process is reached; not set in that process itself. */
  readonly POOL_URL?: string
}

/** One call of the pool's object. */
interface RemoteCall {
  readonly method: string
  readonly argument: unknown
}

/** What the Worker finds in the place of the namespace: an object whose methods are called by HTTP. */
function remoteNamespace(url: string) {
  const call = async (method: string, argument: unknown) => {
    const body = JSON.stringify({ method, argument } satisfies RemoteCall)
    const response = await fetch(url, { method: 'POST', body })
    if (!response.ok) throw new Error(`${method}: ${response.status}`)
    return await response.json()
  }
  const methods = Object.getOwnPropertyNames(KeyPool.prototype)
  const object = Object.fromEntries(
    methods.map((method) => [method, (argument: unknown) => call(method, argument)]),
  )
  return { getByName: () => object }
}

/** One for the whole isolate: the gateway reads its configuration once for each environment. */
let environment: Env | null = null

function environmentOf(env: RemoteEnv): Env {
  if (env.POOL_URL === undefined) return env
  environment ??= Object.assign({ ...env }, { KEY_POOL: remoteNamespace(env.POOL_URL) })
  return environment
}

/** Carries out the calls of the other processes, on a port of its own. */
export const pool = {
  async fetch(request, env) {
    const { method, argument } = await request.json<RemoteCall>()
    const stub = env.KEY_POOL.getByName('pool/default/0', { retry: { maxRetries: 0 } })
    const call: (argument: unknown) => Promise<unknown> = Reflect.get(stub, method)
    return Response.json(await call(argument))
  },
} satisfies ExportedHandler<Env>

export { Flight, KeyPool }

export default {
  async fetch(request, env, ctx) {
    return await gateway.fetch(request, environmentOf(env), ctx)
  },
} satisfies ExportedHandler<RemoteEnv>
