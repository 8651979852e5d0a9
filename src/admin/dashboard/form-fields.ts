import type { Context } from 'hono'
import type { HttpEnvironment } from '../../http/context.ts'

/** The fields of a form as a browser posts it, each once and without blanks around it. */
export async function formFields(c: Context<HttpEnvironment>): Promise<(name: string) => string> {
  const fields = new URLSearchParams(new TextDecoder().decode(await c.req.arrayBuffer()))
  return (name) => fields.get(name)?.trim() ?? ''
}
