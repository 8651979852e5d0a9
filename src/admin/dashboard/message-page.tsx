import type { Context } from 'hono'
import type { GatewayError } from '../../gateway/answers/gateway-error.ts'
import type { HttpEnvironment } from '../../http/context.ts'
import { documentOf, Layout } from './views/layout.tsx'

type AdminContext = Context<HttpEnvironment>

/** A page that says what went wrong, in the words of the API. */
export function messagePage(
  c: AdminContext,
  { status, message }: Pick<GatewayError, 'status' | 'message'>,
): Response | Promise<Response> {
  return c.html(
    documentOf(
      <Layout title="Not done" operator={c.var.operator}>
        <section class="narrow">
          <h1>That was not done</h1>
          <p class="note bad">{message}</p>
          <p>
            <a href="/admin">Back to the dashboard</a>
          </p>
        </section>
      </Layout>,
    ),
    status as 400,
  )
}

/** The page of an answer of the API that is an error. */
export async function messagePageOf(c: AdminContext, response: Response): Promise<Response> {
  return await messagePage(c, { status: response.status, message: await faultOf(response) })
}

/** What an answer of the API says that went wrong. */
export async function faultOf(response: Response): Promise<string> {
  const body: { error?: { message?: string } } = await response.json()
  return body.error?.message ?? 'The gateway did not say why.'
}
