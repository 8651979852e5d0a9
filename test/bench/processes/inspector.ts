export interface Inspector {
  ask(method: string, params?: object): Promise<unknown>
  close(): void
}

/** workerd's inspector speaks the Chrome DevTools Protocol. */
export async function openInspector(port: number): Promise<Inspector> {
  const response = await fetch(`http://127.0.0.1:${port}/json`)
  const pages = (await response.json()) as readonly {
    readonly id: string
    readonly title: string
    readonly webSocketDebuggerUrl: string
  }[]
  const page = pages.find(({ id, title }) => `${id} ${title}`.includes('main'))
  if (page === undefined) throw new Error(`No Worker to inspect: ${JSON.stringify(pages)}`)
  const socket = new WebSocket(page.webSocketDebuggerUrl)
  const pending = new Map<number, (result: unknown) => void>()
  socket.addEventListener('message', ({ data }) => {
    const message: { readonly id?: number; readonly result?: unknown } = JSON.parse(String(data))
    if (message.id !== undefined) pending.get(message.id)?.(message.result)
  })
  await new Promise((resolve, reject) => {
    socket.addEventListener('open', resolve)
    socket.addEventListener('error', () => reject(new Error('The inspector does not answer.')))
  })
  let asked = 0
  return {
    ask(method, params = {}) {
      asked += 1
      const id = asked
      socket.send(JSON.stringify({ id, method, params }))
      return new Promise((resolve) => pending.set(id, resolve))
    },
    close: () => socket.close(),
  }
}

const MIB = 1024 * 1024

/** Collects the garbage of a Worker's isolate. @returns what is alive on its heap, in MiB */
export async function liveHeapMib(inspector: Inspector): Promise<number> {
  await inspector.ask('HeapProfiler.collectGarbage')
  const { usedSize } = (await inspector.ask('Runtime.getHeapUsage')) as {
    readonly usedSize: number
  }
  return usedSize / MIB
}
