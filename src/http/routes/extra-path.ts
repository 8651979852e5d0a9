import type { Context } from 'hono'
import { unknownShape } from '../../openrouter/shapes/shape-registry.ts'
import { authenticate } from '../authenticate.ts'
import type { HttpEnvironment } from '../context.ts'
import { inference } from './inference.ts'

/** Serves the inference paths that the operator has opened in addition to the known ones. */
export function extraPath(prefix: string) {
  return async function serve(c: Context<HttpEnvironment>): Promise<Response> {
    const path = c.req.path.slice(prefix.length + 1)
    if (!c.var.gateway.config.policy.extraPaths.includes(path)) return await c.notFound()
    const refused = await authenticate(c, async () => undefined)
    return refused ?? (await inference(unknownShape(path))(c))
  }
}
