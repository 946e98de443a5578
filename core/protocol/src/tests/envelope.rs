//! What a snapshot covers.

use crate::codec::Wire;
use crate::envelope::Covers;
use crate::id::LogId;
use crate::vector::Positions;

const OWN: LogId = LogId([1; 16]);
const OTHER: LogId = LogId([2; 16]);

#[test]
fn a_snapshot_covers_what_it_was_made_of_and_never_itself() {
    let upto = Positions::new([(OWN, 7), (OTHER, 300)]).unwrap();
    let covers = Covers::new(&upto, &OWN, 9);
    assert_eq!(covers.all(&OWN, 9), [(OTHER, 300), (OWN, 7)]);
    assert_eq!(covers.upto(&OWN, &OWN, 9), Some(7));
    assert_eq!(covers.upto(&OTHER, &OWN, 9), Some(300));
    assert_eq!(covers.upto(&LogId([3; 16]), &OWN, 9), None);
    // Of its own log alone it takes two bytes, a distance and an empty map.
    let alone = Covers::new(&Positions::new([(OWN, 7)]).unwrap(), &OWN, 9);
    assert_eq!(alone.encode(), [2, 0]);
    for at_or_behind in [9, 10] {
        let covers = Covers::new(&Positions::new([(OWN, at_or_behind)]).unwrap(), &OWN, 9);
        assert_eq!(covers, Covers::default());
        assert_eq!(covers.all(&OWN, 9), []);
    }
    // What somebody else writes there counts for nothing.
    let odd = Covers {
        own: 9,
        others: Positions::new([(OWN, 100)]).unwrap(),
    };
    assert_eq!((odd.all(&OWN, 9), odd.upto(&OWN, &OWN, 9)), (Vec::new(), None));
    assert_eq!(odd.upto(&OWN, &OWN, 5), None);
}
