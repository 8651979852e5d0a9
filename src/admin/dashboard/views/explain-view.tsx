import type { Explanation, KeyExplanation } from '../../../balancing/explanation.ts'
import { Moment } from './quantities.tsx'
import { REASON_WORDS } from './reason-words.ts'

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
export function ExplainResult({ explanation }: { explanation: Explanation }) {
  const { chosen, waits, strategy, route, model, keys, panic } = explanation
  return (
    <div class="result" id="explained">
      <p>
        {chosen === null ? (
          <b>{waits ? 'It would wait for a key.' : 'It would be refused: no key may serve.'}</b>
        ) : (
          <>
            <b>{chosen.key}</b> would be chosen for {chosen.model}.
          </>
        )}{' '}
        Route {route.join(', ')}, strategy {strategy}
        {panic && ', breakers ignored'}. Nothing was sent, and no turn is spent.
      </p>
      <table>
        <thead>
          <tr>
            <th scope="col">Key</th>
            <th scope="col">For {model}</th>
          </tr>
        </thead>
        <tbody>
          {keys.map((key) => (
            <tr>
              <th scope="row">
                {key.key} <small>{key.account}</small>
              </th>
              <td>
                <Verdict of={key} isChosen={key.key === chosen?.key} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  )
}

function Verdict({ of, isChosen }: { of: KeyExplanation; isChosen: boolean }) {
  if (of.eligible) {
    const score = of.score === null ? '' : ` score ${Number(of.score.toPrecision(3))}`
    return (
      <>
        <span class="badge well">{isChosen ? 'chosen' : 'may serve'}</span>
        <small>{score}</small>
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
      {of.clearsAtMs !== null && (
        <small>
          until <Moment ms={of.clearsAtMs} mark="until" />
        </small>
      )}
    </>
  )
}
