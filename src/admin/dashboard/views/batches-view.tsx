import type { RunningBatch } from '../../../balancing/batches/batch-progress.ts'
import { Head } from './layout.tsx'
import { Bar, countText, Moment, percentText } from './quantities.tsx'

/** How far the batches are that have not ended. A gateway without batches has nothing here. */
export function BatchesTable({ batches }: { batches: readonly RunningBatch[] }) {
  if (batches.length === 0) {
    return (
      <p id="batch-list" class="empty">
        No batch runs.
      </p>
    )
  }
  return (
    <table id="batch-list">
      <Head of={['Batch', 'Lines', 'Ends at the latest']} />
      <tbody>
        {batches.map((batch) => (
          <Row batch={batch} />
        ))}
      </tbody>
    </table>
  )
}

function Row({ batch }: { batch: RunningBatch }) {
  const { id, clientId, status, total, completed, failed, claimed, expiresAtMs } = batch
  const share = total === 0 ? 0 : (completed + failed) / total
  return (
    <tr>
      <th scope="row">
        <code>{id}</code>{' '}
        <small>
          {clientId} · {status.replaceAll('_', ' ')}
        </small>
      </th>
      <td data-label="Lines">
        {countText(completed + failed)} of {countText(total)}{' '}
        <Bar share={share} label={`of the lines of ${id} ended`} />{' '}
        <small>
          {percentText(share)}, {countText(failed)} failed, {countText(claimed)} taken up
        </small>
      </td>
      <td data-label="Ends at the latest">
        <Moment ms={expiresAtMs} mark="until" />
      </td>
    </tr>
  )
}
