//! What goes wrong between two sides, by number.

use crate::codec::wire_code;

wire_code! {
    /// Why a side refuses. The numbers never change their meaning.
    pub enum ErrorCode: u16 {
        /// The bytes don't decode. The connection closes.
        Malformed = 1,
        /// A message that isn't allowed at this point. The connection closes.
        OutOfTurn = 2,
        /// The other side speaks only versions older than ours: it has to be updated.
        VersionTooOld = 3,
        /// The other side speaks only versions newer than ours: we have to be updated.
        VersionTooNew = 4,
        /// The server doesn't serve this account.
        UnknownAccount = 16,
        /// The device isn't enrolled in the account.
        UnknownDevice = 17,
        /// The device was revoked.
        RevokedDevice = 18,
        /// The transport key of the connection isn't the device's.
        WrongTransportKey = 19,
        /// The instance token is neither the current nor the offered one: the device was copied or restored.
        StaleInstance = 20,
        /// The same device has connected again.
        Superseded = 21,
        /// The server opens accounts only by invitation, or for a list.
        NotInvited = 22,
        /// The account exists already.
        AccountExists = 23,
        /// The server's operator has removed the account from it.
        Purged = 24,
        /// A signature is wrong, or of a key that isn't entitled.
        BadSignature = 32,
        /// The control log has grown: fetch, then issue the entry again.
        ControlConflict = 33,
        /// The entry contradicts the control log.
        ControlInvalid = 34,
        /// The revocation's cut, or the table's fold, doesn't reach what the server holds: fetch, then issue it again.
        CutStale = 35,
        /// An epoch wraps its key to an agreement key that its device has replaced: fetch, then issue it again.
        AgreementStale = 36,
        /// The registry has changed: fetch, then issue the table again.
        RegistryConflict = 37,
        /// The envelope doesn't follow the log's last one.
        WrongLink = 48,
        /// The log isn't open, or its device isn't a member.
        WrongLog = 49,
        /// The handle was erased. The envelope is kept as a hole.
        HandleErased = 50,
        /// The document key's generation is older than the last revocation. The envelope is kept as a hole.
        GenerationStale = 51,
        /// The new document key is wrapped under an epoch that has ended. The envelope is kept as a hole.
        EpochStale = 52,
        /// Data was sent before the erased set was applied.
        GateClosed = 53,
        /// The erasure wasn't acknowledged in time.
        EraseNotAcknowledged = 54,
        /// Above a size limit.
        TooLarge = 64,
        /// The account's space is used up. Erasures and control entries still pass. Kept as a hole when it was an envelope.
        QuotaReached = 65,
        /// Too many messages: wait.
        RateLimited = 66,
        /// The server is overloaded or ends: come back later.
        Busy = 67,
        /// The server can't write.
        StorageFailed = 68,
        /// What was asked for isn't there.
        NotFound = 69,
        /// No such pairing, or it is over.
        PairingUnknown = 80,
        /// The pairing code has expired.
        PairingExpired = 81,
        /// The pairing code was used, or too many tries were made.
        PairingUsed = 82,
        /// The account moved to another server.
        Moved = 83,
    }
}
