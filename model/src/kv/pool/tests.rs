use super::*;

#[test]
fn pages_are_used_again() {
    let mut pool = Pool::new(
        Shape {
            kv: Kv::F32,
            layers: 1,
            heads: 1,
            width: 16,
        },
        Kernel::Portable,
        3 * PAGE,
        1000,
    );
    let a = pool.open().unwrap();
    for i in 0..PAGE + 1 {
        assert_eq!(pool.push(a).unwrap(), i);
    }
    let b = pool.open().unwrap();
    assert!(pool.check([b].into_iter().cycle().take(PAGE + 1)).is_err());
    pool.truncate(a, PAGE);
    pool.check([b].into_iter().cycle().take(2 * PAGE)).unwrap();
    pool.close(a);
    assert!(matches!(pool.push(a), Err(Error::NoSlot(_))));
    for _ in 0..3 * PAGE {
        pool.push(b).unwrap();
    }
    assert!(matches!(pool.push(b), Err(Error::PoolFull { .. })));
    assert_eq!((pool.len(a), pool.len(b)), (0, 3 * PAGE));
}

#[test]
fn what_is_written_is_read() {
    let mut pool = Pool::new(
        Shape {
            kv: Kv::F32,
            layers: 2,
            heads: 2,
            width: 16,
        },
        Kernel::Portable,
        200,
        1000,
    );
    let slot = pool.open().unwrap();
    for p in 0..70 {
        let at = pool.push(slot).unwrap();
        let keys: Vec<f32> = (0..32).map(|i| (p * 100 + i) as f32).collect();
        let values: Vec<f32> = keys.iter().map(|k| -k).collect();
        pool.write(slot, at, 1, &keys, &values).unwrap();
    }
    let Part { keys, values, .. } = pool.head::<f32>(slot, 1, 1).nth(1).unwrap();
    assert_eq!(keys[3 * PAGE + 5], (69 * 100 + 16 + 3) as f32);
    assert_eq!(values[5 * 16 + 3], -((69 * 100 + 16 + 3) as f32));
}

const SMALL: Shape = Shape {
    kv: Kv::F32,
    layers: 1,
    heads: 1,
    width: 16,
};

/// Pushes positions with keys and values of `mark`.
fn feed(pool: &mut Pool, slot: Slot, count: usize, mark: f32) {
    for _ in 0..count {
        let at = pool.push(slot).unwrap();
        pool.write(slot, at, 0, &[mark; 16], &[mark; 16]).unwrap();
    }
}

/// The values of a slot's positions, by their first element.
fn marks(pool: &Pool, slot: Slot) -> Vec<f32> {
    let values = pool.head::<f32>(slot, 0, 0);
    let values = values.flat_map(|part| part.values.chunks(16));
    values.take(pool.len(slot)).map(|value| value[0]).collect()
}

/// A pool of `pages` with a prefix of `count` tokens.
fn with_prefix(pages: usize, count: usize) -> (Pool, Vec<Token>) {
    let mut pool = Pool::new(SMALL, Kernel::Portable, pages * PAGE, 1000);
    let tokens: Vec<Token> = (0..count as u32).collect();
    let mut aside = pool.beside(count);
    let slot = aside.open().unwrap();
    feed(&mut aside, slot, count, 1.0);
    pool.register(&tokens, aside, slot);
    (pool, tokens)
}

#[test]
fn a_shared_page_is_copied_before_it_is_written() {
    let (mut pool, tokens) = with_prefix(4, 70);
    let kept = pool.prefixes[0].pages.clone();
    let before: Vec<String> = kept.iter().map(|page| format!("{page:?}")).collect();
    let (a, b) = (pool.open().unwrap(), pool.open().unwrap());
    assert_eq!((pool.adopt(a, &tokens), pool.adopt(b, &tokens)), (70, 70));
    assert_eq!(pool.free_pages(), 4);
    feed(&mut pool, a, 3, 2.0);
    feed(&mut pool, b, 2, 3.0);
    let then = |mark, count| [vec![1.0; 70], vec![mark; count]].concat();
    assert_eq!((marks(&pool, a), marks(&pool, b)), (then(2.0, 3), then(3.0, 2)));
    // One page each, for the copy of the prefix's second one.
    assert_eq!(pool.free_pages(), 2);
    // Back into the first page, which is the prefix's own.
    pool.truncate(a, 10);
    assert_eq!(pool.free_pages(), 3);
    feed(&mut pool, a, 1, 4.0);
    assert_eq!(marks(&pool, a), [vec![1.0; 10], vec![4.0]].concat());
    assert_eq!(marks(&pool, b), then(3.0, 2));
    // On its border nothing needs a copy.
    pool.truncate(b, 64);
    feed(&mut pool, b, 1, 5.0);
    assert_eq!(marks(&pool, b), [vec![1.0; 64], vec![5.0]].concat());
    assert_eq!(pool.free_pages(), 2);
    for (page, before) in kept.iter().zip(&before) {
        assert_eq!(&format!("{page:?}"), before);
    }
}

#[test]
#[should_panic(expected = "a page of the slot's own")]
fn a_shared_page_cannot_be_written() {
    let (mut pool, tokens) = with_prefix(4, 70);
    let slot = pool.open().unwrap();
    pool.adopt(slot, &tokens);
    // It does not come back.
    _ = pool.write(slot, 69, 0, &[2.0; 16], &[2.0; 16]);
}

#[test]
fn shared_pages_are_nobodys_to_free() {
    let (mut pool, tokens) = with_prefix(2, 128);
    let slots: Vec<Slot> = (0..5).map(|_| pool.open().unwrap()).collect();
    for &slot in &slots {
        assert_eq!(pool.adopt(slot, &tokens), 128);
        // Not again: it is not empty.
        assert_eq!(pool.adopt(slot, &tokens), 0);
    }
    pool.check([slots[0], slots[1]].into_iter()).unwrap();
    assert!(matches!(
        pool.check(slots[..3].iter().copied()),
        Err(Error::PoolFull {
            needed: 192,
            free: 128
        })
    ));
    feed(&mut pool, slots[0], 1, 2.0);
    feed(&mut pool, slots[4], PAGE, 2.0);
    assert_eq!(pool.free_pages(), 0);
    // In the middle of a shared page even one position needs a page.
    pool.truncate(slots[2], 100);
    assert!(pool.check([slots[2]].into_iter()).is_err());
    for slot in [slots[1], slots[4], slots[0], slots[3], slots[2]] {
        pool.close(slot);
    }
    assert_eq!((pool.free_pages(), pool.made, pool.free.len()), (2, 2, 2));
    assert!(pool.prefixes[0].pages.iter().all(|page| !is_shared(page)));
    let slot = pool.open().unwrap();
    pool.adopt(slot, &tokens);
    assert_eq!(marks(&pool, slot), [1.0; 128]);
}

#[test]
fn only_whole_prefixes_that_fit_are_taken() {
    let (mut pool, tokens) = with_prefix(2, 70);
    let slot = pool.open().unwrap();
    assert_eq!(pool.adopt(slot, &tokens[..69]), 0);
    assert_eq!(pool.adopt(slot, &[&tokens[..69], &[9]].concat()), 0);
    assert_eq!(pool.adopt(Slot(9), &tokens), 0);
    let mut narrow = Pool::new(SMALL, Kernel::Portable, 2 * PAGE, 69);
    narrow.inherit(&pool);
    let other = narrow.open().unwrap();
    assert_eq!(narrow.adopt(other, &tokens), 0);
    assert_eq!(pool.adopt(slot, &[&tokens[..], &[9]].concat()), 70);
}

#[test]
fn codes_are_those_of_each_head_and_a_quarter_of_the_bytes() {
    let shape = Shape {
        kv: Kv::Int8,
        layers: 2,
        heads: 2,
        width: 32,
    };
    let mut pool = Pool::new(shape, Kernel::Portable, 128, 1000);
    let slot = pool.open().unwrap();
    for _ in 0..70 {
        pool.push(slot).unwrap();
    }
    // Heads of different size, each with its largest number first or last.
    let keys: Vec<f32> = (0..64)
        .map(|i| if i < 32 { 32.0 - i as f32 } else { i as f32 * -1e-3 })
        .collect();
    let values: Vec<f32> = keys.iter().map(|key| key * 2.0).collect();
    pool.write(slot, 69, 1, &keys, &values).unwrap();
    for head in 0..2 {
        let part = pool.head::<i8>(slot, 1, head).nth(1).unwrap();
        let largest = [32.0, 63.0 * 1e-3][head];
        assert_eq!(part.key_scales[5], largest / 127.0);
        assert_eq!(part.value_scales[5], largest * 2.0 / 127.0);
        for d in 0..32 {
            let code = (keys[head * 32 + d] * (127.0 / largest)).round_ties_even();
            assert_eq!(f32::from(part.keys[d * PAGE + 5]), code);
            assert_eq!(f32::from(part.values[5 * 32 + d]), code);
        }
    }
    pool.write(slot, 0, 0, &[0.0; 64], &[0.0; 64]).unwrap();
    assert_eq!(pool.head::<i8>(slot, 0, 0).next().unwrap().key_scales[0], 0.0);
    let infinite = pool.write(slot, 0, 0, &[f32::INFINITY; 64], &[0.0; 64]);
    assert!(matches!(infinite, Err(Error::NotFinite)));

    let wide = Shape { kv: Kv::F32, ..shape };
    assert_eq!((wide.bytes(), shape.bytes()), (2048 / 2, 2 * 2 * 2 * (32 + 4)));
    for shape in [wide, shape] {
        assert_eq!(Content::new(&shape).bytes(), shape.bytes() * PAGE);
    }
}
