import type {
  AttemptRow,
  CacheOutcome,
  RequestRow,
} from '../../../balancing/accounting/request-row.ts'
import { Head } from './layout.tsx'
import { countText, Moment, msText, usdText } from './quantities.tsx'

export function FindForm({ id }: { id: string }) {
  return (
    <form method="get" action="/admin#requests" class="fields">
      <label class="wide">
        Request id, as in <code>x-request-id</code>
        <input name="request" value={id} required maxlength={255} autocomplete="off" />
      </label>
      <button type="submit">Find</button>
    </form>
  )
}

/** What became of a request that was looked for; of one that is too long ago, nothing. */
export function FoundRequests({ rows }: { rows: readonly RequestRow[] }) {
  if (rows.length === 0) {
    return (
      <p class="note bad">No request of that id is among the last 1,000. The log has older ones.</p>
    )
  }
  return <RequestsTable rows={rows} id="found" />
}

/** The last requests, the latest first, each with its attempts in their order. */
export function RequestsTable({ rows, id }: { rows: readonly RequestRow[]; id: string }) {
  if (rows.length === 0) {
    return (
      <p id={id} class="empty">
        No request has ended yet.
      </p>
    )
  }
  return (
    <table id={id}>
      <Head of={['Request', 'Outcome', 'Attempts', 'Took', 'Used']} />
      <tbody>
        {rows.map((row) => (
          <Row row={row} />
        ))}
      </tbody>
    </table>
  )
}

function Row({ row }: { row: RequestRow }) {
  const { clientId, asked, attempts, attemptsLeftOut, timingsMs, usage, cache } = row
  const isGiven = cache === 'hit' || cache === 'joined'
  return (
    <tr>
      <th scope="row">
        <Moment ms={row.startedAtMs} />{' '}
        <small>
          {clientId} · {asked ?? row.path}
          <br />
          <code>{row.id}</code>
        </small>
      </th>
      <td data-label="Outcome">
        <span class={`badge ${row.outcome === 'answered' ? 'well' : 'out'}`}>
          {OUTCOMES[row.outcome]}
        </span>{' '}
        <small>
          {row.status} {row.reason} {cache !== null && CACHE_WORDS[cache]}
          {row.degraded && ' without the pool'}
        </small>
      </td>
      <td data-label="Attempts">
        {attempts.length === 0 && (
          <small>none: {isGiven ? 'nothing was asked upstream' : reasonsText(row)}</small>
        )}
        <ol class="timeline">
          {attempts.map((attempt) => (
            <Attempt of={attempt} />
          ))}
        </ol>
        {attemptsLeftOut > 0 && <small>{attemptsLeftOut} more are left out</small>}
      </td>
      <td data-label="Took">
        {msText(row.endedAtMs - row.startedAtMs)}{' '}
        {timingsMs.wait >= 1 && <small>waited {msText(timingsMs.wait)}</small>}
      </td>
      <td data-label="Used">
        {usage === null ? (
          <small>{isGiven ? 'nothing' : 'unknown'}</small>
        ) : (
          <>
            {usdText(usage.costUsd)}{' '}
            <small>
              {countText(usage.promptTokens)} + {countText(usage.completionTokens)} tokens
            </small>
          </>
        )}
      </td>
    </tr>
  )
}

const CACHE_WORDS: Readonly<Record<CacheOutcome, string>> = {
  hit: 'kept answer',
  joined: 'answer of another',
  miss: 'shared answer',
  bypass: 'not shared',
}

const OUTCOMES: Readonly<Record<RequestRow['outcome'], string>> = {
  answered: 'answered',
  failed: 'failed',
  client_gone: 'client left',
  refused: 'refused',
}

function reasonsText({ reasons }: RequestRow): string {
  const entries = Object.entries(reasons)
  return entries.length === 0
    ? 'no key was asked for'
    : entries.map(([reason, count]) => `${count} × ${reason}`).join(', ')
}

function Attempt({ of }: { of: AttemptRow }) {
  const { key, beganMs, waitedMs, tookMs, status, row, why } = of
  return (
    <li>
      <small>+{msText(beganMs)}</small>{' '}
      <span class={`badge ${row === null ? 'well' : 'out'}`}>{key}</span>{' '}
      <small>
        {status} {why ?? (row === null ? 'good' : `row ${row}`)}
        {tookMs !== null && ` after ${msText(tookMs)}`}
        {waitedMs >= 1 && `, waited ${msText(waitedMs)}`}
      </small>
    </li>
  )
}
