// Browsers start no worker from a file, so the search of a site that is opened from a folder would not work. This stands in
// for `Worker` there: the script runs in a hidden frame. Material's script looks for the name in its parent.
if (location.protocol === "file:")
  window.Worker = window.IFrameWorker = class extends EventTarget {
    constructor(url) {
      super()
      this.frame = document.createElement("iframe")
      this.frame.hidden = true
      this.ready = new Promise((resolve) => {
        this.frame.onload = () => {
          const inside = this.frame.contentWindow
          const load = (address) =>
            new Promise((done, failed) => {
              const script = inside.document.createElement("script")
              script.src = address
              script.onload = done
              script.onerror = failed
              inside.document.body.append(script)
            })
          inside.importScripts = (...addresses) =>
            addresses.reduce((before, address) => before.then(() => load(address)), Promise.resolve())
          // What the script sends goes to the page, and what the page sends to the script alone.
          inside.postMessage = (data) => this.emit(data)
          load(url).then(resolve)
        }
      })
      document.body.append(this.frame)
    }
    emit(data) {
      const event = new MessageEvent("message", { data })
      this.dispatchEvent(event)
      this.onmessage?.(event)
    }
    postMessage(data) {
      this.ready.then(() => this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data })))
    }
    terminate() {
      this.frame.remove()
    }
  }
