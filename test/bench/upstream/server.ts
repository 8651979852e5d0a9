import { createServer, type Socket } from 'node:net'
import { MessageReader } from '../load/message-reader.ts'
import { MODELS } from '../mix.ts'
import {
  endChunk,
  eventChunk,
  failedAnswer,
  keyAnswer,
  listAnswer,
  missingAnswer,
  nextId,
  STREAM_HEAD,
  type WholeAnswer,
  wholeAnswer,
} from './answers.ts'

/**
 * The upstream of every measurement, a process of its own. It reads of a request what tells it what
 * to answer, and answers with bytes made before: it has to cost less than what stands before it.
 */

/** The model stands within the first bytes of a body, wherever a gateway puts it. */
const MAX_OPENING_BYTES = 4_096

const SMALL = wholeAnswer(1_024)
const LARGE = wholeAnswer(100 * 1_024)
const FAILED = failedAnswer()
const KEY = keyAnswer()
const LIST = listAnswer()
const MISSING = missingAnswer()

/** So many in 64 bursts have 1 MB. */
const EVENTS_IN_BURST = 64

const FAULT_EVERY = 100
let faultyRequests = 0

type Respond = (socket: Socket) => void

const BY_MODEL: ReadonlyMap<string, Respond> = new Map([
  [MODELS.small, (socket) => writeWhole(socket, SMALL)],
  [MODELS.large, (socket) => writeWhole(socket, LARGE)],
  [MODELS.faulty, writeSometimes],
  [MODELS.stream, (socket) => writeStream(socket, 200, 10)],
  [MODELS.slowStream, (socket) => writeStream(socket, 40, 100)],
  [MODELS.longStream, (socket) => writeStream(socket, 64, 50, EVENTS_IN_BURST)],
])

function writeWhole(socket: Socket, { before, after }: WholeAnswer): void {
  socket.cork()
  socket.write(before + nextId(), 'latin1')
  socket.write(after)
  socket.uncork()
}

function writeSometimes(socket: Socket): void {
  faultyRequests += 1
  writeWhole(socket, faultyRequests % FAULT_EVERY === 0 ? FAILED : SMALL)
}

/** The first event goes out with the headers, and then one at every tick. */
function writeStream(socket: Socket, events: number, everyMs: number, inBurst = 1): void {
  const id = nextId()
  const burst = () => eventChunk(id, inBurst)
  socket.write(STREAM_HEAD + burst(), 'latin1')
  let written = 1
  const timer = setInterval(() => {
    written += 1
    const isLast = written === events
    socket.write(burst() + (isLast ? endChunk(id) : ''), 'latin1')
    if (isLast) clearInterval(timer)
  }, everyMs)
  socket.once('close', () => clearInterval(timer))
}

function serve(socket: Socket): void {
  let path = ''
  let opening = ''
  const reader = new MessageReader({
    onHead(head) {
      path = head.slice(0, head.indexOf('\r\n'))
      opening = ''
    },
    onBody(bytes) {
      if (opening.length < MAX_OPENING_BYTES)
        opening += bytes.toString('latin1', 0, MAX_OPENING_BYTES)
    },
    onEnd() {
      respondTo(path, opening)(socket)
    },
  })
  socket.setNoDelay(true)
  socket.on('data', (bytes) => reader.push(bytes))
  // A client that leaves in the middle is none of our business.
  socket.on('error', () => socket.destroy())
}

function respondTo(firstLine: string, opening: string): Respond {
  if (firstLine.includes('/key ')) return (socket) => writeWhole(socket, KEY)
  if (firstLine.includes('/models ')) return (socket) => writeWhole(socket, LIST)
  const [model = ''] = /bench\/[\w-]+/.exec(opening) ?? []
  return BY_MODEL.get(model) ?? ((socket) => writeWhole(socket, MISSING))
}

const server = createServer(serve)
server.listen(Number(process.argv[2] ?? 0), '127.0.0.1', () => {
  const address = server.address()
  if (address !== null && typeof address === 'object') process.send?.(address.port)
})
// Without the process that measures there is nobody to answer to.
process.once('disconnect', () => process.exit(0))
