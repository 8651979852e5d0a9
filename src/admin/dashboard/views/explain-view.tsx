import type { ExplainAnswer } from '../../pool/explain-answer-schema.ts'
import { REASON_WORDS } from './key-standing.ts'
import { Head } from './layout.tsx'
import { Moment } from './quantities.tsx'

export interface ExplainFields {
  readonly model: string
  readonly client: string
  readonly conversation: string
}

export function ExplainForm({ fields }: { fields: ExplainFields }) {
  return (
    <form method="get" action="/admin#explain" class="fields">
      <label>
        Model <input name="model" required value={fields.model} placeholder="openai/gpt-4o-mini" />
      </label>
      <label>
        Client <input name="client" value={fields.client} placeholder="any" />
      </label>
      <label>
        Conversation <input name="conversation" value={fields.conversation} placeholder="none" />
      </label>
      <button type="submit">Explain</button>
    </form>
  )
}

/** Which key a request would get now, and why no other. */
export function ExplainResult({ explanation }: { explanation: ExplainAnswer }) {
  const { route, looked_at_model, keys, panic } = explanation
  return (
    <div class="result" id="explained">
      <p>
        <Verdict explanation={explanation} /> Route {route.models.join(', ')}, strategy{' '}
        {route.strategy}
        {panic && ', breakers ignored'}. Nothing was sent, and no turn is spent.
      </p>
      <table>
        <Head of={['Key', `For ${looked_at_model}`]} />
        <tbody>
          {keys.map((key) => (
            <tr>
              <th scope="row">
                {key.id} <small>{key.account}</small>
              </th>
              <td>
                <KeyVerdict of={key} isChosen={key.id === explanation.chosen?.key} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  )
}

const BECAUSE: Readonly<Record<NonNullable<ExplainAnswer['because']>, string>> = {
  no_key: 'no key may serve',
  client_limit: 'the client has used up a limit',
  client_expired: 'the client’s time is over',
  model_not_allowed: 'the client may not use that model',
}

function Verdict({ explanation }: { explanation: ExplainAnswer }) {
  const { would, because, chosen, limit, retry_at } = explanation
  if (would === 'serve' && chosen !== null) {
    return (
      <>
        <b>{chosen.key}</b> would be chosen for {chosen.model}.
      </>
    )
  }
  const why = because === null ? '' : `: ${BECAUSE[because]}`
  return (
    <>
      <b>{would === 'wait' ? 'It would wait for a key' : `It would be refused${why}`}</b>
      {limit !== null &&
        ` (${limit.limit ?? limit.period ?? limit.kind} of ${limit.owner ?? 'it'})`}
      {retry_at !== null && (
        <>
          , until <Moment ms={Date.parse(retry_at)} mark="until" />
        </>
      )}
      .
    </>
  )
}

function KeyVerdict({ of, isChosen }: { of: ExplainAnswer['keys'][number]; isChosen: boolean }) {
  if (of.eligible) {
    return (
      <>
        <span class="badge well">{isChosen ? 'chosen' : 'may serve'}</span>
        {of.score !== null && <small> score {Number(of.score.toPrecision(3))}</small>}
      </>
    )
  }
  return (
    <>
      {of.reasons.map((reason) => (
        <>
          <span class="badge out">{REASON_WORDS[reason][0]}</span>{' '}
        </>
      ))}
      {of.clears_at !== null && (
        <small>
          until <Moment ms={Date.parse(of.clears_at)} mark="until" />
        </small>
      )}
    </>
  )
}
