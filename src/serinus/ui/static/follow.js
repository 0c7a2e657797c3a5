// The event stream as short messages: {version, lasting, seq, at}. Connects again by itself.

/** Calls `heard` with every message; `version` rises with every change, `lasting` with what stays a while. */
export function follow(heard) {
  let lasting = 0;
  let events;
  const open = () => {
    events = new EventSource("/api/events");
    events.addEventListener("state", ({ data }) => {
      const { version, state } = JSON.parse(data);
      lasting = version;
      heard({ version, lasting, seq: state.seq, at: Date.now() });
    });
    events.addEventListener("tick", ({ data }) => {
      const { version, seq } = JSON.parse(data);
      heard({ version, lasting, seq, at: Date.now() });
    });
    events.onerror = () => {
      if (events.readyState === EventSource.CLOSED) setTimeout(open, 2000); // refused; else it retries itself
    };
  };
  open();
  return { close: () => events.close() };
}
