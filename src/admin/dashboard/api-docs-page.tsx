import type { Context } from 'hono'
import type { HttpEnvironment } from '../../http/context.ts'
import { documentOf, Layout } from './views/layout.tsx'

/** The admin API to read through. Its document is a static asset, too large to be in the Worker. */
export function apiDocs(c: Context<HttpEnvironment>): Response | Promise<Response> {
  return c.html(
    documentOf(
      <Layout title="Admin API" operator={c.var.operator} script="api-docs.js">
        <section>
          <h1>The admin API</h1>
          <p>
            Send ADMIN_TOKEN, or READ_TOKEN for a GET, as <code>Authorization: Bearer …</code>. The
            document itself is <a href="/admin/assets/openapi.json">openapi.json</a>.
          </p>
          <div id="api">
            <noscript>Without its script this page shows nothing more.</noscript>
          </div>
        </section>
      </Layout>,
    ),
  )
}
