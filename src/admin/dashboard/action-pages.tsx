import { clientId, groupId } from '../../balancing/ids.ts'
import { gatewayError } from '../../gateway/answers/gateway-error.ts'
import { errorResponse } from '../../http/error-response.ts'
import { type AdminContext, checked } from '../admin-request.ts'
import { newClient } from '../admin-schemas.ts'
import { sendTest } from '../alerts/alert-routes.ts'
import { type ClientAndToken, carryOut, mintClient, rotateToken } from '../client-routes.ts'
import { lookUpCredit, steer } from '../pool/pool-routes.ts'
import { type ActionName, about, actionOf } from './actions.ts'
import { formFields } from './form-fields.ts'
import { messagePage, messagePageOf } from './message-page.tsx'
import { documentOf, Layout } from './views/layout.tsx'

/** More is no name of a key or a client. */
const MAX_ID_LENGTH = 64

/** Asks before something is done. It is a page, so that it needs no script. */
export async function confirmPage(c: AdminContext): Promise<Response> {
  const chosen = actionOf(c.req.query('do') ?? '')
  const id = (c.req.query('id') ?? '').slice(0, MAX_ID_LENGTH)
  if (chosen === null) return await unknownAction(c)
  const { name, action } = chosen
  return c.html(
    documentOf(
      <Layout title={action.button} operator={c.var.operator}>
        <section class="narrow">
          <h1>{about(action.question, id)}</h1>
          <p>{action.consequence}</p>
          <form method="post" action="/admin/do" class="fields">
            <input type="hidden" name="do" value={name} />
            <input type="hidden" name="id" value={id} />
            <button type="submit" class={action.isDangerous ? 'danger' : ''} autofocus>
              {action.button}
            </button>
            <a href="/admin">No, go back</a>
          </form>
        </section>
      </Layout>,
    ),
  )
}

/** Does what was confirmed, and goes back to the dashboard, which says so. */
export async function doAction(c: AdminContext): Promise<Response> {
  const field = await formFields(c)
  const chosen = actionOf(field('do'))
  if (chosen === null) return await unknownAction(c)
  const id = field('id')
  if (chosen.name === 'rotate') return await shown(c, await rotateToken(c, clientId(id), DAY_MS))
  const response =
    chosen.name === 'test_alert' ? await tested(c, id) : await carriedOut(c, chosen.name, id)
  if (!response.ok) return await messagePageOf(c, response)
  return c.redirect(`/admin?${new URLSearchParams({ done: chosen.name, id })}`, 303)
}

const DAY_MS = 24 * 60 * 60_000

async function carriedOut(
  c: AdminContext,
  name: Exclude<ActionName, 'rotate' | 'test_alert'>,
  id: string,
): Promise<Response> {
  switch (name) {
    case 'pause':
    case 'drain':
    case 'resume':
    case 'reset':
      return await steer(c, name, id)
    case 'refresh':
      return await lookUpCredit(c, null)
    case 'revoke':
      return await carryOut(c, { kind: 'remove_client', id: clientId(id) })
    case 'remove_group':
      return await carryOut(c, { kind: 'remove_group', id: groupId(id) })
  }
}

/** Sends a test to an address of alerts. That it was not taken is a failure here. */
async function tested(c: AdminContext, name: string): Promise<Response> {
  const sent = await sendTest(c, name)
  if (sent instanceof Response) return sent
  if (sent.delivered) return c.json(sent)
  const answer = sent.status === null ? 'gave no answer' : `answered ${sent.status}`
  return errorResponse(c, gatewayError('upstream_unreachable', `${name} ${answer}.`))
}

/** Makes a client of the form's fields. An empty field is none. */
export async function makeClient(c: AdminContext): Promise<Response> {
  const field = await formFields(c)
  const [group, rpm, usd] = [field('group'), field('rpm'), field('usd')]
  const terms = checked(c, newClient, {
    id: field('id'),
    ...(group === '' ? {} : { group }),
    ...(rpm === '' ? {} : { rpm: Number(rpm) }),
    ...(usd === '' ? {} : { budget: { usd: Number(usd), period: field('period') } }),
  })
  return await shown(c, terms instanceof Response ? terms : await mintClient(c, terms))
}

/** The only page that ever shows a token, and only this once. */
async function shown(c: AdminContext, made: ClientAndToken | Response): Promise<Response> {
  if (made instanceof Response) return await messagePageOf(c, made)
  const { client, token } = made
  return c.html(
    documentOf(
      <Layout title="Token" operator={c.var.operator}>
        <section class="narrow">
          <h1>The token of {client.id}</h1>
          <p>Copy it now. It is shown this once: the gateway keeps only its hash.</p>
          <code class="secret" id="token">
            {token}
          </code>
          <p>
            <a href="/admin#clients">Back to the dashboard</a>
          </p>
        </section>
      </Layout>,
    ),
  )
}

function unknownAction(c: AdminContext): Response | Promise<Response> {
  return messagePage(c, gatewayError('invalid_request', 'There is no such action.'))
}
