import type { Context } from 'hono'
import { createMiddleware } from 'hono/factory'
import { sha256Hex } from '../../config/secrets.ts'
import type { HttpEnvironment } from '../../http/context.ts'
import { errorResponse } from '../../http/error-response.ts'
import { notServed } from '../../http/unserved.ts'
import { admissionByToken, admissionOf, hasOperators, isCrossSite } from '../sign-in/operator.ts'
import { beginSession, endSession } from '../sign-in/session.ts'
import { remember, tooManyGuesses, writeRefusal } from '../sign-in.ts'
import { formFields } from './form-fields.ts'
import { messagePage } from './message-page.tsx'
import { documentOf, Layout } from './views/layout.tsx'

type AdminContext = Context<HttpEnvironment>

/** While nobody can sign in, no page is there. */
export const whereOperatorsAre = createMiddleware<HttpEnvironment>(async (c, next) =>
  hasOperators(c) ? await next() : errorResponse(c, notServed(c)),
)

/** Lets operators see a page. A stranger is shown where to sign in. */
export const operatorsOnly = createMiddleware<HttpEnvironment>(async (c, next) => {
  const admission = await admissionOf(c)
  if (admission.kind !== 'operator') return c.redirect('/admin/sign-in', 303)
  const { operator } = admission
  remember(c, operator)
  const refusal = writeRefusal(c, operator)
  return refusal === null ? await next() : messagePage(c, refusal)
})

export function signInForm(c: AdminContext): Response | Promise<Response> {
  return formPage(c, null, 200)
}

function formPage(c: AdminContext, fault: string | null, status: 200 | 401 | 403 | 429) {
  const { admin, access } = c.var.gateway.config
  const hasTokens = admin.writers.length + admin.readers.length > 0
  return c.html(
    documentOf(
      <Layout title="Sign in" operator={null}>
        <section class="narrow">
          <h1>Sign in</h1>
          {fault !== null && (
            <p class="note bad" role="alert">
              {fault}
            </p>
          )}
          {hasTokens && (
            <form method="post" action="/admin/sign-in" class="fields">
              {/* By it, browsers and password managers tell apart what they keep. */}
              <input name="username" autocomplete="username" value="operator" hidden />
              <label>
                ADMIN_TOKEN, or READ_TOKEN to look only{' '}
                <input
                  type="password"
                  name="token"
                  required
                  autocomplete="current-password"
                  autofocus
                />
              </label>
              <button type="submit">Sign in</button>
            </form>
          )}
          {access !== null && (
            <p>Through Cloudflare Access you are signed in already: this request had none.</p>
          )}
        </section>
      </Layout>,
    ),
    status,
  )
}

/** Begins a session with a token of the form. */
export async function signInByForm(c: AdminContext): Promise<Response> {
  // Another site must not sign somebody in either: what is done then would be another's.
  if (isCrossSite(c)) return await formPage(c, 'Sign in from this page.', 403)
  const token = (await formFields(c))('token')
  const admission = admissionByToken(c, token, true)
  switch (admission.kind) {
    case 'too_many_guesses': {
      const { message } = tooManyGuesses(admission.waitMs)
      c.header('retry-after', String(Math.ceil(admission.waitMs / 1000)))
      return await formPage(c, message, 429)
    }
    case 'stranger':
      return await formPage(c, 'That is no token of this gateway.', 401)
    case 'operator':
      remember(c, admission.operator)
      await beginSession(c, sha256Hex(token))
      return c.redirect('/admin', 303)
  }
}

/** Works for who is signed out already, too. */
export async function signOut(c: AdminContext): Promise<Response> {
  if (isCrossSite(c)) return await formPage(c, 'Sign out from this page.', 403)
  endSession(c)
  return c.redirect('/admin/sign-in', 303)
}
