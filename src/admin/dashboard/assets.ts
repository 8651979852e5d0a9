import type { Context } from 'hono'
import type { HttpEnvironment } from '../../http/context.ts'
import { errorResponse } from '../../http/error-response.ts'
import { notServed } from '../../http/unserved.ts'
import { hasOperators } from '../sign-in/operator.ts'

/** A closed list: the folder has nothing else, and no name of a request goes to the binding. */
const NAMES: ReadonlySet<string> = new Set([
  'dashboard.css',
  'dashboard.js',
  'api-docs.js',
  'icon.svg',
  'openapi.json',
])

/**
 * Script, style and picture of the pages, for anybody, since the page to sign in needs them too. A
 * deployment without the binding has pages without them.
 */
export async function asset(c: Context<HttpEnvironment>): Promise<Response> {
  const name = c.req.param('name') ?? ''
  const { ASSETS }: { readonly ASSETS?: Fetcher } = c.env
  if (!hasOperators(c) || ASSETS === undefined || !NAMES.has(name)) {
    return errorResponse(c, notServed(c))
  }
  const response = await ASSETS.fetch(`https://assets.invalid/${name}`)
  return new Response(response.body, response)
}
